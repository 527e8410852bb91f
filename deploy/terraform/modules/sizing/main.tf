# What follows from the sizes: architecture, pools, limits of the database. No provider, so `terraform test` runs anywhere.
# The arithmetic is that of the README, "How many workers".

variable "instance_type" {
  description = "EC2 type of the instances, such as m7g.medium"
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]*\\.[a-z0-9-]+$", var.instance_type))
    error_message = "instance_type looks like m7g.medium."
  }
}

variable "instances_max" {
  description = "Instances of all fleets together at most, those of a rolling update not counted"
  type        = number

  validation {
    condition     = var.instances_max >= 1 && floor(var.instances_max) == var.instances_max
    error_message = "instances_max is a whole number from 1."
  }
}

variable "database_class" {
  description = "Class of the database instance, such as db.m5.large"
  type        = string

  validation {
    condition     = contains(keys(local.memory_gib), replace(var.database_class, "/^db\\.[a-z0-9]+\\./", ""))
    error_message = "database_class ends with one of micro, small, medium, large, xlarge, 2xlarge, 4xlarge."
  }
}

variable "db_pool_size" {
  description = "Connections of one instance to the database; null takes what fits, 10 at most"
  type        = number
  default     = null
}

locals {
  # Of the general-purpose families (m, t); the r families have twice as much, so this is on the safe side.
  memory_gib = { micro = 1, small = 2, medium = 4, large = 8, xlarge = 16, "2xlarge" = 32, "4xlarge" = 64 }
  # RDS: memory in bytes / 12,582,880, of which the machine itself takes some.
  max_connections = floor(local.memory_gib[replace(var.database_class, "/^db\\.[a-z0-9]+\\./", "")] * 1073741824 / 12582880)
  # instances x pool x 2 + 10 <= 0.8 x max_connections
  pool_that_fits = floor((0.8 * local.max_connections - 10) / (2 * var.instances_max))
  pool           = var.db_pool_size == null ? max(1, min(10, local.pool_that_fits)) : var.db_pool_size
  # instances x pool x 2 x 64 <= 0.8 x max_prepared_stmt_count, in the steps that the README's table has
  statements       = var.instances_max * local.pool * 2 * 64 / 0.8
  statement_limits = [for limit in [16382, 32768, 65536, 131072, 262144, 524288, 1048576] : limit if limit >= local.statements]
  # Graviton: a g after the generation (m7g, t4g, c7gn).
  is_arm = can(regex("^[a-z]+[0-9]+g", var.instance_type))
}

output "architecture" {
  description = "As AWS calls it"
  value       = local.is_arm ? "arm64" : "x86_64"
}

output "machine" {
  description = "As uname -m says, and as the binary is named"
  value       = local.is_arm ? "aarch64" : "x86_64"
}

output "db_pool_size" {
  description = "DB_POOL_SIZE of each instance"
  value       = local.pool

  precondition {
    condition     = local.pool >= 1 && local.pool <= max(1, local.pool_that_fits)
    error_message = "db_pool_size ${local.pool} is too large: ${var.instances_max} instances of ${var.database_class} may have ${max(1, local.pool_that_fits)} each."
  }
}

output "max_connections" {
  description = "What RDS makes of the class, about"
  value       = local.max_connections
}

output "max_prepared_stmt_count" {
  description = "For the database's parameter group"
  value       = local.statement_limits[0]
}
