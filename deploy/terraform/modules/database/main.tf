# RDS for MySQL with a standby in another zone and, where wanted, a replica to read from; or Aurora with a writer's and a
# reader's endpoint. The password is made and kept by RDS in Secrets Manager, and never in the state.

variable "name" {
  type = string
}

variable "kind" {
  description = "mysql or aurora"
  type        = string
  default     = "mysql"

  validation {
    condition     = contains(["mysql", "aurora"], var.kind)
    error_message = "kind is mysql or aurora."
  }
}

variable "vpc_id" {
  type = string
}

variable "subnets" {
  type = list(string)
}

variable "instance_class" {
  description = "db.m5.large and the like are RDS only; Aurora has db.r and db.t4g classes"
  type        = string
}

variable "replica" {
  description = "With one more instance to read from"
  type        = bool
  default     = false
}

variable "multi_az" {
  type    = bool
  default = true
}

variable "max_prepared_stmt_count" {
  type = number
}

variable "snapshot" {
  description = "Snapshot to begin from, when restoring; null begins empty"
  type        = string
  default     = null
}

locals {
  parameters = {
    max_prepared_stmt_count = var.max_prepared_stmt_count
    # Nobody talks to it in the clear.
    require_secure_transport = "ON"
    character_set_server     = "utf8mb4"
  }
  is_aurora = var.kind == "aurora"
}

resource "aws_security_group" "this" {
  name        = "${var.name}-database"
  description = "The database: from the fleets' instances only, and to nowhere"
  vpc_id      = var.vpc_id
}

resource "aws_db_subnet_group" "this" {
  name       = var.name
  subnet_ids = var.subnets
}

data "aws_caller_identity" "me" {}

resource "aws_kms_key" "this" {
  description         = "${var.name}: database, its backups and its password"
  enable_key_rotation = true
  # The account's own IAM policies decide who may use it.
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { AWS = "arn:aws:iam::${data.aws_caller_identity.me.account_id}:root" }
      Action    = "kms:*"
      Resource  = "*"
    }]
  })
}

resource "aws_db_parameter_group" "this" {
  count       = local.is_aurora ? 0 : 1
  name_prefix = "${var.name}-"
  family      = "mysql8.4"
  dynamic "parameter" {
    for_each = local.parameters
    content {
      name  = parameter.key
      value = parameter.value
    }
  }
  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_db_instance" "writer" {
  #checkov:skip=CKV_AWS_118:enhanced monitoring is a role and a cost; Performance Insights shows the statements
  #checkov:skip=CKV2_AWS_69:require_secure_transport is in the parameter group above
  #checkov:skip=CKV_AWS_161:the server signs in by password
  #checkov:skip=CKV2_AWS_60:snapshots carry no tags, as the instance has none that matter
  #checkov:skip=CKV_AWS_157:multi_az is a variable, on by default
  count                           = local.is_aurora ? 0 : 1
  identifier                      = var.name
  engine                          = "mysql"
  engine_version                  = "8.4"
  instance_class                  = var.instance_class
  allocated_storage               = 20
  max_allocated_storage           = 200
  storage_type                    = "gp3"
  storage_encrypted               = true
  kms_key_id                      = aws_kms_key.this.arn
  db_name                         = "hyperdesk"
  username                        = "hyperdesk"
  manage_master_user_password     = true
  master_user_secret_kms_key_id   = aws_kms_key.this.key_id
  snapshot_identifier             = var.snapshot
  multi_az                        = var.multi_az
  db_subnet_group_name            = aws_db_subnet_group.this.name
  vpc_security_group_ids          = [aws_security_group.this.id]
  parameter_group_name            = aws_db_parameter_group.this[0].name
  publicly_accessible             = false
  backup_retention_period         = 7
  copy_tags_to_snapshot           = true
  deletion_protection             = true
  skip_final_snapshot             = false
  final_snapshot_identifier       = "${var.name}-final"
  auto_minor_version_upgrade      = true
  performance_insights_enabled    = true
  performance_insights_kms_key_id = aws_kms_key.this.arn
  enabled_cloudwatch_logs_exports = ["error", "slowquery"]
}

resource "aws_db_instance" "reader" {
  #checkov:skip=CKV_AWS_118:as the writer
  #checkov:skip=CKV_AWS_157:a replica is read from; when it is away the writer stands in
  #checkov:skip=CKV_AWS_161:as the writer
  #checkov:skip=CKV2_AWS_69:as the writer
  #checkov:skip=CKV_AWS_293:it holds nothing that the writer does not
  #checkov:skip=CKV2_AWS_60:as the writer
  count                           = !local.is_aurora && var.replica ? 1 : 0
  identifier                      = "${var.name}-reader"
  replicate_source_db             = aws_db_instance.writer[0].identifier
  instance_class                  = var.instance_class
  storage_type                    = "gp3"
  storage_encrypted               = true
  vpc_security_group_ids          = [aws_security_group.this.id]
  parameter_group_name            = aws_db_parameter_group.this[0].name
  publicly_accessible             = false
  skip_final_snapshot             = true
  copy_tags_to_snapshot           = true
  auto_minor_version_upgrade      = true
  performance_insights_enabled    = true
  performance_insights_kms_key_id = aws_kms_key.this.arn
  enabled_cloudwatch_logs_exports = ["error", "slowquery"]
}

resource "aws_rds_cluster_parameter_group" "this" {
  count       = local.is_aurora ? 1 : 0
  name_prefix = "${var.name}-"
  family      = "aurora-mysql8.0"
  dynamic "parameter" {
    for_each = local.parameters
    content {
      name  = parameter.key
      value = parameter.value
    }
  }
  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_rds_cluster" "this" {
  #checkov:skip=CKV_AWS_326:backtracking is no restore: it takes the whole cluster back with all that was acknowledged
  #checkov:skip=CKV_AWS_162:the server signs in by password
  #checkov:skip=CKV2_AWS_8:backups are Aurora's own, kept for a week
  count                           = local.is_aurora ? 1 : 0
  cluster_identifier              = var.name
  engine                          = "aurora-mysql"
  engine_version                  = "8.0.mysql_aurora.3.08.2"
  database_name                   = "hyperdesk"
  master_username                 = "hyperdesk"
  manage_master_user_password     = true
  master_user_secret_kms_key_id   = aws_kms_key.this.key_id
  snapshot_identifier             = var.snapshot
  db_subnet_group_name            = aws_db_subnet_group.this.name
  vpc_security_group_ids          = [aws_security_group.this.id]
  db_cluster_parameter_group_name = aws_rds_cluster_parameter_group.this[0].name
  storage_encrypted               = true
  kms_key_id                      = aws_kms_key.this.arn
  backup_retention_period         = 7
  copy_tags_to_snapshot           = true
  deletion_protection             = true
  skip_final_snapshot             = false
  final_snapshot_identifier       = "${var.name}-final"
  enabled_cloudwatch_logs_exports = ["audit", "error", "slowquery"]
}

# Two at least: without a second one there is nothing to fail over to.
resource "aws_rds_cluster_instance" "this" {
  #checkov:skip=CKV_AWS_118:as the other kind
  count                           = local.is_aurora ? (var.replica ? 3 : 2) : 0
  identifier                      = "${var.name}-${count.index}"
  cluster_identifier              = aws_rds_cluster.this[0].id
  engine                          = aws_rds_cluster.this[0].engine
  engine_version                  = aws_rds_cluster.this[0].engine_version
  instance_class                  = var.instance_class
  publicly_accessible             = false
  auto_minor_version_upgrade      = true
  performance_insights_enabled    = true
  performance_insights_kms_key_id = aws_kms_key.this.arn
}

output "security_group" {
  value = aws_security_group.this.id
}

output "writer" {
  description = "RDS_HOSTNAME"
  value       = local.is_aurora ? aws_rds_cluster.this[0].endpoint : aws_db_instance.writer[0].address
}

output "reader" {
  description = "RDS_READER_HOSTNAME; null where there is nothing to read from but the writer"
  value       = local.is_aurora ? aws_rds_cluster.this[0].reader_endpoint : one(aws_db_instance.reader[*].address)
}

output "secret" {
  description = "ARN of the secret with username and password"
  value       = local.is_aurora ? aws_rds_cluster.this[0].master_user_secret[0].secret_arn : aws_db_instance.writer[0].master_user_secret[0].secret_arn
}

output "kms_key" {
  value = aws_kms_key.this.arn
}

output "identifier" {
  value = var.name
}
