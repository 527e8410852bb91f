variable "name" {
  description = "Begins the names of everything"
  type        = string
  default     = "hyperdesk"
}

variable "region" {
  type    = string
  default = "eu-central-1"
}

variable "zone_id" {
  description = "Hosted zone of Route 53 that the fleets' hosts are in"
  type        = string
}

variable "compute" {
  description = "ec2 or fargate"
  type        = string
  default     = "ec2"

  validation {
    condition     = contains(["ec2", "fargate"], var.compute)
    error_message = "compute is ec2 or fargate."
  }
}

variable "fleets" {
  description = "A fleet for each group of services, under hosts of its own"
  type = map(object({
    hosts        = list(string)
    services     = string
    frontend_url = string
    sizes        = optional(object({ min = number, desired = number, max = number }), { min = 1, desired = 2, max = 6 })
    environment  = optional(map(string), {})
  }))

  validation {
    condition     = length(var.fleets) > 0
    error_message = "There is no fleet."
  }
}

variable "instance_type" {
  type    = string
  default = "m7g.medium"
}

variable "scaling" {
  description = "target (50 % CPU) or step (+10 above 40 %, -5 below 10 %)"
  type        = string
  default     = "target"
}

variable "artifact" {
  description = "The binary, as deploy/eb/bundle builds it, in a bucket of yours; for ec2"
  type        = object({ bucket = string, key = string, sha256 = string })
  default     = { bucket = "none", key = "none", sha256 = "0000000000000000000000000000000000000000000000000000000000000000" }
}

variable "image" {
  description = "The image with its digest; for fargate"
  type        = string
  default     = null

  validation {
    condition     = var.compute != "fargate" || can(regex("@sha256:[0-9a-f]{64}$", var.image))
    error_message = "image ends with @sha256: and its digest, so that what runs is what was tested."
  }
}

variable "secret_parameter" {
  description = "SecureString parameter of SSM with SECRET_KEY_BASE, made by hand so that it is in no state"
  type        = string
  default     = "/hyperdesk/secret_key_base"
}

variable "db_pool_size" {
  description = "null takes what fits the database"
  type        = number
  default     = null
}

variable "database" {
  type = object({
    kind     = optional(string, "mysql")
    class    = optional(string, "db.m5.large")
    replica  = optional(bool, false)
    multi_az = optional(bool, true)
    snapshot = optional(string)
  })
  default = {}

  validation {
    condition     = var.database.kind != "aurora" || can(regex("^db\\.(r|t4g|t3|x2g)", var.database.class))
    error_message = "Aurora MySQL has no class ${var.database.class}: take db.r6g.large or the like."
  }
}

variable "pictures" {
  description = "s3 (a bucket and CloudFront), or with ec2 also efs (a folder that all instances share)"
  type        = string
  default     = "s3"

  validation {
    condition     = var.compute == "ec2" || var.pictures == "s3"
    error_message = "With fargate, pictures is s3."
  }
}

variable "nat_per_zone" {
  type    = bool
  default = true
}

variable "scraper_security_group" {
  description = "Security group of the machine that Prometheus runs on"
  type        = string
  default     = null
}

variable "alarm_email" {
  type = string
}

variable "load_workers" {
  description = "Locust workers by region, such as { eu-central-1 = 2, us-east-1 = 2 }; empty for none"
  type        = map(number)
  default     = {}
}
