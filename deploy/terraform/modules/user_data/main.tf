# What an instance does at its first start, as text. No provider, so `terraform test` runs anywhere.

variable "environment" {
  description = "The server's settings that are no secrets"
  type        = map(string)

  validation {
    # systemd reads the file: no line breaks, and quotes and backslashes would be its own.
    condition     = alltrue([for value in values(var.environment) : !can(regex("[\n\r\"'\\\\]", value))])
    error_message = "A value has a line break, a quote or a backslash."
  }
  validation {
    condition     = alltrue([for name in ["SECRET_KEY_BASE", "SECRET_KEY_BASE_PREVIOUS", "DATABASE_URL", "RDS_PASSWORD", "AWS_SECRET_ACCESS_KEY"] : !contains(keys(var.environment), name)])
    error_message = "Secrets do not belong into user data, which whoever may describe the instance reads."
  }
}

variable "artifact" {
  description = "s3://bucket/key of the binary for this machine"
  type        = string

  validation {
    condition     = startswith(var.artifact, "s3://")
    error_message = "artifact is s3://bucket/key."
  }
}

variable "artifact_sha256" {
  description = "Its SHA-256, in hex: what was downloaded runs only if it is this"
  type        = string

  validation {
    condition     = can(regex("^[0-9a-f]{64}$", var.artifact_sha256))
    error_message = "artifact_sha256 is 64 hex digits."
  }
}

variable "region" {
  type        = string
  description = "Region of the secrets"
}

variable "secret_parameters" {
  description = "Settings whose values are SecureString parameters of SSM, by the setting's name"
  type        = map(string)
}

variable "database_secret" {
  description = "ARN of the secret with the database's username and password, as RDS makes it"
  type        = string
}

variable "file_system" {
  description = "Id of an EFS file system for the pictures' folder; null for none"
  type        = string
  default     = null
}

output "user_data" {
  description = "A script for cloud-init"
  value = templatefile("${path.module}/user_data.sh.tftpl", {
    environment       = var.environment
    artifact          = var.artifact
    artifact_sha256   = var.artifact_sha256
    region            = var.region
    secret_parameters = var.secret_parameters
    database_secret   = var.database_secret
    file_system       = var.file_system == null ? "" : var.file_system
  })
}
