# The whole installation planned and applied with mocked resources: what AWS would say to a value is not known here.

mock_provider "aws" {
  mock_data "aws_availability_zones" {
    defaults = { names = ["eu-central-1a", "eu-central-1b", "eu-central-1c"] }
  }
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_resource "aws_db_instance" {
    defaults = {
      address            = "writer.example"
      master_user_secret = [{ secret_arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:db" }]
    }
  }
  mock_resource "aws_rds_cluster" {
    defaults = {
      endpoint           = "writer.example"
      reader_endpoint    = "reader.example"
      master_user_secret = [{ secret_arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:db" }]
    }
  }
  mock_resource "aws_acm_certificate" {
    defaults = { domain_validation_options = [] }
  }
}

variables {
  zone_id     = "Z1"
  alarm_email = "ops@example.com"
  fleets = {
    desk  = { hosts = ["desk.example.com"], services = "helpdesk", frontend_url = "https://www.example.com" }
    stock = { hosts = ["stock.example.com"], services = "stock", frontend_url = "https://www.example.com", sizes = { min = 1, desired = 1, max = 2 } }
  }
  artifact = { bucket = "artifacts", key = "hyperdesk-aarch64", sha256 = "0000000000000000000000000000000000000000000000000000000000000000" }
}

run "instances" {
  assert {
    condition     = length(module.fleet) == 2 && length(module.container) == 0
    error_message = "a fleet for each entry"
  }
  assert {
    condition     = module.sizing.db_pool_size == 10
    error_message = "8 instances x 10 x 2 + 10 = 170 of 0.8 x 682"
  }
  assert {
    condition     = strcontains(module.user_data["stock"].user_data, "\nSERVICES='stock'\n")
    error_message = "each fleet has its own services"
  }
  assert {
    condition     = strcontains(module.user_data["desk"].user_data, "\nRDS_HOSTNAME='writer.example'\n") && !strcontains(module.user_data["desk"].user_data, "RDS_READER_HOSTNAME")
    error_message = "the writer, and no reader where there is none"
  }
  assert {
    condition     = output.hosts == ["https://desk.example.com", "https://stock.example.com"]
    error_message = "hosts"
  }
}

run "aurora_steps_and_a_folder" {
  variables {
    database     = { kind = "aurora", class = "db.r6g.large" }
    scaling      = "step"
    pictures     = "efs"
    nat_per_zone = false
  }
  assert {
    condition     = strcontains(module.user_data["desk"].user_data, "\nRDS_READER_HOSTNAME='reader.example'\n")
    error_message = "Aurora has a reader's endpoint"
  }
}

run "fargate" {
  variables {
    compute = "fargate"
    image   = "registry.example.com/hyperdesk@sha256:0000000000000000000000000000000000000000000000000000000000000000"
  }
  assert {
    condition     = length(module.container) == 2 && length(module.fleet) == 0
    error_message = "a service for each entry"
  }
}

run "load_from_two_regions" {
  variables {
    load_workers = { eu-central-1 = 1, us-east-1 = 2 }
  }
  assert {
    condition     = output.load_master != null
    error_message = "the master's id"
  }
}

run "aurora_has_no_m5" {
  command = plan
  variables {
    database = { kind = "aurora", class = "db.m5.large" }
  }
  expect_failures = [var.database]
}

run "an_image_without_digest_is_refused" {
  command = plan
  variables {
    compute = "fargate"
    image   = "hyperdesk:latest"
  }
  expect_failures = [var.image]
}
