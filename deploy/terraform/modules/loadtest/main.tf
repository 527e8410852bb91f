# Locust: a master and N workers in each of some regions, for load from outside. No port is public: people reach the web
# page and the machines through SSM, and workers reach the master over peered VPCs.
#
#   aws ssm start-session --target MASTER --document-name AWS-StartPortForwardingSession --parameters portNumber=8089,localPortNumber=8089

variable "name" {
  type = string
}

variable "host" {
  description = "https:// URL that is put under load"
  type        = string
}

variable "master_region" {
  type = string
}

variable "workers" {
  description = "Workers by region; a region may be the master's own"
  type        = map(number)
}

variable "instance_type" {
  type    = string
  default = "c7g.large"
}

variable "files" {
  description = "locustfile.py and what it imports: texts by path"
  type        = map(string)
}

locals {
  regions = toset(concat([var.master_region], keys(var.workers)))
  others  = setsubtract(local.regions, [var.master_region])
  # A network of its own for each region: peered networks must not overlap.
  cidr = { for index, region in sort(tolist(local.regions)) : region => "10.${100 + index}.0.0/24" }
  workers = merge([
    for region, count in var.workers : { for number in range(count) : "${region}-${number}" => region }
  ]...)
  files = join("", [
    for path, text in var.files : "install -D /dev/stdin '/opt/load/${path}' <<'END_OF_FILE'\n${text}END_OF_FILE\n"
  ])
  setup = <<-SETUP
    #!/bin/bash
    set -euo pipefail
    dnf install --assumeyes --quiet python3.12 python3.12-pip gcc python3.12-devel
    python3.12 -m pip install --quiet locust==2.47.0
    ulimit -n 100000
  SETUP
  # What EC2 takes, before base64. cloud-init unpacks it.
  user_data_bytes_max = 16384
}

data "aws_ssm_parameter" "image" {
  for_each = local.regions
  region   = each.key
  name     = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64"
}

resource "aws_vpc" "this" {
  #checkov:skip=CKV2_AWS_11:lives for an hour
  #checkov:skip=CKV2_AWS_12:nothing here uses the default group
  for_each             = local.regions
  region               = each.key
  cidr_block           = local.cidr[each.key]
  enable_dns_support   = true
  enable_dns_hostnames = true
  tags                 = { Name = "${var.name}-load" }
}

resource "aws_internet_gateway" "this" {
  for_each = local.regions
  region   = each.key
  vpc_id   = aws_vpc.this[each.key].id
}

resource "aws_subnet" "this" {
  for_each   = local.regions
  region     = each.key
  vpc_id     = aws_vpc.this[each.key].id
  cidr_block = local.cidr[each.key]
}

resource "aws_vpc_peering_connection" "this" {
  for_each    = local.others
  region      = var.master_region
  vpc_id      = aws_vpc.this[var.master_region].id
  peer_vpc_id = aws_vpc.this[each.key].id
  peer_region = each.key
}

resource "aws_vpc_peering_connection_accepter" "this" {
  for_each                  = local.others
  region                    = each.key
  vpc_peering_connection_id = aws_vpc_peering_connection.this[each.key].id
  auto_accept               = true
}

resource "aws_route_table" "this" {
  #checkov:skip=CKV2_AWS_44:each route leads to exactly one peered network
  for_each = local.regions
  region   = each.key
  vpc_id   = aws_vpc.this[each.key].id
  route {
    cidr_block = "0.0.0.0/0"
    gateway_id = aws_internet_gateway.this[each.key].id
  }
  dynamic "route" {
    for_each = each.key == var.master_region ? local.others : setintersection([each.key], local.others)
    content {
      cidr_block                = each.key == var.master_region ? local.cidr[route.value] : local.cidr[var.master_region]
      vpc_peering_connection_id = aws_vpc_peering_connection_accepter.this[route.value].vpc_peering_connection_id
    }
  }
}

resource "aws_route_table_association" "this" {
  for_each       = local.regions
  region         = each.key
  subnet_id      = aws_subnet.this[each.key].id
  route_table_id = aws_route_table.this[each.key].id
}

resource "aws_security_group" "this" {
  #checkov:skip=CKV2_AWS_5:attached to the instances below
  for_each    = local.regions
  region      = each.key
  name        = "${var.name}-load"
  description = "Locust: out, and in only for workers at the master"
  vpc_id      = aws_vpc.this[each.key].id
}

resource "aws_vpc_security_group_egress_rule" "all" {
  #checkov:skip=CKV_AWS_277:egress
  for_each          = local.regions
  region            = each.key
  security_group_id = aws_security_group.this[each.key].id
  description       = "The load itself, packages, SSM"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "-1"
}

resource "aws_vpc_security_group_ingress_rule" "workers" {
  for_each          = local.regions
  region            = var.master_region
  security_group_id = aws_security_group.this[var.master_region].id
  description       = "Workers in ${each.key}"
  cidr_ipv4         = local.cidr[each.key]
  ip_protocol       = "tcp"
  from_port         = 5557
  to_port           = 5557
}

resource "aws_iam_role" "this" {
  name = "${var.name}-load"
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "ec2.amazonaws.com" } }]
  })
}

resource "aws_iam_role_policy_attachment" "ssm" {
  role       = aws_iam_role.this.name
  policy_arn = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"
}

resource "aws_iam_instance_profile" "this" {
  name = "${var.name}-load"
  role = aws_iam_role.this.name
}

resource "aws_instance" "master" {
  #checkov:skip=CKV_AWS_88:a public address to go out by; its security group lets only workers in
  #checkov:skip=CKV_AWS_126:lives for an hour
  #checkov:skip=CKV_AWS_135:Graviton instances are EBS-optimised by themselves
  region                      = var.master_region
  ami                         = data.aws_ssm_parameter.image[var.master_region].value
  instance_type               = var.instance_type
  subnet_id                   = aws_subnet.this[var.master_region].id
  vpc_security_group_ids      = [aws_security_group.this[var.master_region].id]
  associate_public_ip_address = true
  iam_instance_profile        = aws_iam_instance_profile.this.name
  user_data_base64            = base64gzip("${local.setup}${local.files}nohup locust -f /opt/load/locustfile.py --master --web-host 127.0.0.1 --host '${var.host}' >/var/log/locust.log 2>&1 &\n")
  metadata_options {
    http_tokens = "required"
  }
  root_block_device {
    encrypted = true
  }
  tags = { Name = "${var.name}-load-master" }
  lifecycle {
    precondition {
      # A worker's is shorter. Four characters of base64 are three bytes.
      condition     = length(base64gzip("${local.setup}${local.files}${var.host}")) * 3 / 4 + 150 <= local.user_data_bytes_max
      error_message = "locustfile.py and its package are too long for user data: put them into a bucket."
    }
  }
}

resource "aws_instance" "worker" {
  #checkov:skip=CKV_AWS_88:as the master
  #checkov:skip=CKV_AWS_126:as the master
  #checkov:skip=CKV_AWS_135:as the master
  for_each                    = local.workers
  region                      = each.value
  ami                         = data.aws_ssm_parameter.image[each.value].value
  instance_type               = var.instance_type
  subnet_id                   = aws_subnet.this[each.value].id
  vpc_security_group_ids      = [aws_security_group.this[each.value].id]
  associate_public_ip_address = true
  iam_instance_profile        = aws_iam_instance_profile.this.name
  # -1: a worker process for each core.
  user_data_base64 = base64gzip("${local.setup}${local.files}nohup locust -f /opt/load/locustfile.py --worker --processes -1 --master-host ${aws_instance.master.private_ip} >/var/log/locust.log 2>&1 &\n")
  metadata_options {
    http_tokens = "required"
  }
  root_block_device {
    encrypted = true
  }
  tags = { Name = "${var.name}-load-${each.key}" }
}

output "master" {
  description = "Instance to start a session with"
  value       = aws_instance.master.id
}
