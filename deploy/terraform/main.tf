# The whole installation. `terraform apply` after terraform.tfvars was written; see deploy/README.md, "Terraform".

terraform {
  # Write-only secrets are not needed: none are here. 1.11 is what the tests' syntax wants.
  required_version = ">= 1.11"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.0"
    }
  }
  # The state in a bucket: terraform init -backend-config=bucket=... -backend-config=key=hyperdesk -backend-config=region=...
  backend "s3" {
    use_lockfile = true
    encrypt      = true
  }
}

provider "aws" {
  region = var.region
  default_tags {
    tags = { Project = var.name }
  }
}

data "aws_caller_identity" "me" {}

locals {
  hosts     = flatten([for fleet in var.fleets : fleet.hosts])
  instances = sum([for fleet in var.fleets : fleet.sizes.max])
  parameter = "arn:aws:ssm:${var.region}:${data.aws_caller_identity.me.account_id}:parameter${var.secret_parameter}"
  is_ec2    = var.compute == "ec2"
}

module "sizing" {
  source         = "./modules/sizing"
  instance_type  = var.instance_type
  instances_max  = local.instances
  database_class = var.database.class
  db_pool_size   = var.db_pool_size
}

module "network" {
  source       = "./modules/network"
  name         = var.name
  nat_per_zone = var.nat_per_zone
}

module "database" {
  source                  = "./modules/database"
  name                    = var.name
  kind                    = var.database.kind
  instance_class          = var.database.class
  replica                 = var.database.replica
  multi_az                = var.database.multi_az
  snapshot                = var.database.snapshot
  vpc_id                  = module.network.vpc_id
  subnets                 = module.network.private_subnets
  max_prepared_stmt_count = module.sizing.max_prepared_stmt_count
}

module "balancer" {
  source  = "./modules/balancer"
  name    = var.name
  vpc_id  = module.network.vpc_id
  subnets = module.network.public_subnets
  zone_id = var.zone_id
  hosts   = local.hosts
}

module "pictures" {
  source                = "./modules/pictures"
  name                  = var.name
  kind                  = var.pictures
  vpc_id                = module.network.vpc_id
  subnets               = module.network.private_subnets
  fleet_security_groups = merge({ for name, fleet in module.fleet : name => fleet.security_group }, { for name, fleet in module.container : name => fleet.security_group })
}

locals {
  environment = { for name, fleet in var.fleets : name => merge(
    module.pictures.environment,
    {
      APP_ENV            = "production"
      SERVICES           = fleet.services
      FRONTEND_URL       = fleet.frontend_url
      RDS_HOSTNAME       = module.database.writer
      RDS_DB_NAME        = "hyperdesk"
      DATABASE_SSL_MODE  = "verify_identity"
      DATABASE_SSL_CA    = "/etc/hyperdesk/rds.pem"
      DB_POOL_SIZE       = tostring(module.sizing.db_pool_size)
      TRUSTED_PROXY_HOPS = "1"
      AWS_REGION         = var.region
    },
    var.database.kind == "aurora" || var.database.replica ? { RDS_READER_HOSTNAME = module.database.reader } : {},
    fleet.environment,
  ) }

  read_secrets = [
    { Effect = "Allow", Action = "ssm:GetParameter*", Resource = local.parameter },
    { Effect = "Allow", Action = "secretsmanager:GetSecretValue", Resource = module.database.secret },
    { Effect = "Allow", Action = "kms:Decrypt", Resource = module.database.kms_key },
  ]
  # With a folder there is no bucket, and the list is empty.
  bucket = coalesce(module.pictures.bucket_arn, "none")
  use_pictures = [for statement in [
    { Effect = "Allow", Action = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"], Resource = "${local.bucket}/*" },
    { Effect = "Allow", Action = ["s3:ListBucket"], Resource = local.bucket },
  ] : statement if var.pictures == "s3"]
}

module "user_data" {
  source            = "./modules/user_data"
  for_each          = local.is_ec2 ? var.fleets : {}
  environment       = local.environment[each.key]
  artifact          = "s3://${var.artifact.bucket}/${var.artifact.key}"
  artifact_sha256   = var.artifact.sha256
  region            = var.region
  secret_parameters = { SECRET_KEY_BASE = var.secret_parameter }
  database_secret   = module.database.secret
  file_system       = module.pictures.file_system
}

module "fleet" {
  source                  = "./modules/fleet"
  for_each                = local.is_ec2 ? var.fleets : {}
  name                    = "${var.name}-${each.key}"
  hosts                   = each.value.hosts
  priority                = 10 + index(keys(var.fleets), each.key)
  sizes                   = each.value.sizes
  scaling                 = var.scaling
  instance_type           = var.instance_type
  architecture            = module.sizing.architecture
  user_data               = module.user_data[each.key].user_data
  vpc_id                  = module.network.vpc_id
  subnets                 = module.network.private_subnets
  listener                = module.balancer.listener
  balancer_security_group = module.balancer.security_group
  database_security_group = module.database.security_group
  scraper_security_group  = var.scraper_security_group
  folder_cidr             = var.pictures == "efs" ? module.network.cidr : null
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(local.read_secrets, local.use_pictures, [
      { Effect = "Allow", Action = "s3:GetObject", Resource = "arn:aws:s3:::${var.artifact.bucket}/${var.artifact.key}" },
    ])
  })
}

module "container" {
  source                  = "./modules/container"
  for_each                = local.is_ec2 ? {} : var.fleets
  name                    = "${var.name}-${each.key}"
  region                  = var.region
  image                   = var.image
  hosts                   = each.value.hosts
  priority                = 10 + index(keys(var.fleets), each.key)
  sizes                   = each.value.sizes
  vpc_id                  = module.network.vpc_id
  subnets                 = module.network.private_subnets
  listener                = module.balancer.listener
  balancer_security_group = module.balancer.security_group
  database_security_group = module.database.security_group
  # The image has the public authorities only, and no file of RDS's: encrypted, but by any certificate.
  environment = merge(
    { for name, value in local.environment[each.key] : name => value if name != "DATABASE_SSL_CA" },
    { DATABASE_SSL_MODE = "required" },
  )
  secrets = {
    SECRET_KEY_BASE = local.parameter
    RDS_USERNAME    = "${module.database.secret}:username::"
    RDS_PASSWORD    = "${module.database.secret}:password::"
  }
  policy         = jsonencode({ Version = "2012-10-17", Statement = concat(local.use_pictures, [{ Effect = "Deny", Action = "iam:*", Resource = "*" }]) })
  secrets_policy = jsonencode({ Version = "2012-10-17", Statement = local.read_secrets })
}

module "alarms" {
  source             = "./modules/alarms"
  name               = var.name
  email              = var.alarm_email
  balancer           = module.balancer.arn_suffix
  target_groups      = merge({ for name, fleet in module.fleet : name => fleet.target_group_arn_suffix }, { for name, fleet in module.container : name => fleet.target_group_arn_suffix })
  database           = module.database.identifier
  database_dimension = var.database.kind == "aurora" ? "DBClusterIdentifier" : "DBInstanceIdentifier"
  max_connections    = module.sizing.max_connections
}

module "loadtest" {
  source        = "./modules/loadtest"
  count         = length(var.load_workers) > 0 ? 1 : 0
  name          = var.name
  host          = "https://${local.hosts[0]}"
  master_region = var.region
  workers       = var.load_workers
  files = {
    for file in concat(["locustfile.py"], [
      for name in fileset("${path.module}/../loadtest/people", "*.py") : "deploy/loadtest/people/${name}"
    ]) : file => file("${path.module}/../../${file}")
  }
}

output "hosts" {
  value = [for host in local.hosts : "https://${host}"]
}

output "load_master" {
  description = "Instance with Locust's web page, for aws ssm start-session"
  value       = one(module.loadtest[*].master)
}
