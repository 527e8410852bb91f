# One fleet: the instances that serve some services under some hosts. A launch template and an Auto Scaling group behind the
# balancer.

variable "name" {
  type = string
}

variable "vpc_id" {
  type = string
}

variable "subnets" {
  type = list(string)
}

variable "listener" {
  type = string
}

variable "balancer_security_group" {
  type = string
}

variable "scraper_security_group" {
  description = "Security group of the machine that Prometheus runs on; null for none"
  type        = string
  default     = null
}

variable "folder_cidr" {
  description = "Network of the pictures' folder; null where there is none"
  type        = string
  default     = null
}

variable "database_security_group" {
  type = string
}

variable "hosts" {
  type = list(string)
}

variable "priority" {
  description = "Of the balancer's rule, its own for each fleet"
  type        = number
}

variable "instance_type" {
  type = string
}

variable "architecture" {
  type = string
}

variable "user_data" {
  type = string
}

variable "policy" {
  description = "What the instances may do, as an IAM policy in JSON"
  type        = string
}

variable "sizes" {
  type    = object({ min = number, desired = number, max = number })
  default = { min = 1, desired = 2, max = 6 }

  validation {
    condition     = var.sizes.min >= 1 && var.sizes.min <= var.sizes.desired && var.sizes.desired <= var.sizes.max
    error_message = "1 <= min <= desired <= max."
  }
}

variable "scaling" {
  description = "target: 50 % CPU. step: ten instances more above 40 %, five fewer below 10 %, for loads that leap."
  type        = string
  default     = "target"

  validation {
    condition     = contains(["target", "step"], var.scaling)
    error_message = "scaling is target or step."
  }
}

data "aws_ssm_parameter" "image" {
  name = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-${var.architecture}"
}

module "service" {
  source                  = "../service"
  name                    = var.name
  what                    = "instances"
  target_type             = "instance"
  vpc_id                  = var.vpc_id
  listener                = var.listener
  balancer_security_group = var.balancer_security_group
  database_security_group = var.database_security_group
  hosts                   = var.hosts
  priority                = var.priority
}

resource "aws_vpc_security_group_ingress_rule" "scraper" {
  count                        = var.scraper_security_group == null ? 0 : 1
  security_group_id            = module.service.security_group
  description                  = "Prometheus"
  referenced_security_group_id = var.scraper_security_group
  ip_protocol                  = "tcp"
  from_port                    = 9464
  to_port                      = 9464
}

resource "aws_vpc_security_group_egress_rule" "folder" {
  count             = var.folder_cidr == null ? 0 : 1
  security_group_id = module.service.security_group
  description       = "The pictures' folder: NFS"
  cidr_ipv4         = var.folder_cidr
  ip_protocol       = "tcp"
  from_port         = 2049
  to_port           = 2049
}

resource "aws_iam_role" "this" {
  name = "${var.name}-instance"
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "ec2.amazonaws.com" } }]
  })
}

resource "aws_iam_role_policy" "this" {
  name   = "hyperdesk"
  role   = aws_iam_role.this.id
  policy = var.policy
}

# Sessions by `aws ssm start-session`, in place of SSH.
resource "aws_iam_role_policy_attachment" "ssm" {
  role       = aws_iam_role.this.name
  policy_arn = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"
}

resource "aws_iam_instance_profile" "this" {
  name = "${var.name}-instance"
  role = aws_iam_role.this.name
}

resource "aws_launch_template" "this" {
  name_prefix            = "${var.name}-"
  image_id               = data.aws_ssm_parameter.image.value
  instance_type          = var.instance_type
  user_data              = base64encode(var.user_data)
  vpc_security_group_ids = [module.service.security_group]
  update_default_version = true

  iam_instance_profile {
    name = aws_iam_instance_profile.this.name
  }
  metadata_options {
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }
  monitoring {
    enabled = true
  }
  block_device_mappings {
    device_name = "/dev/xvda"
    ebs {
      volume_type = "gp3"
      volume_size = 10
      encrypted   = true
    }
  }
  tag_specifications {
    resource_type = "instance"
    # Prometheus finds the instances by it.
    tags = { Name = var.name, hyperdesk-fleet = var.name }
  }
}

resource "aws_autoscaling_group" "this" {
  name                      = var.name
  min_size                  = var.sizes.min
  desired_capacity          = var.sizes.desired
  max_size                  = var.sizes.max
  vpc_zone_identifier       = var.subnets
  target_group_arns         = [module.service.target_group_arn]
  health_check_type         = "ELB"
  health_check_grace_period = 120
  default_instance_warmup   = 60

  launch_template {
    id      = aws_launch_template.this.id
    version = aws_launch_template.this.latest_version
  }
  # A new launch template is rolled out: one instance more before one less.
  instance_refresh {
    strategy = "Rolling"
    preferences {
      min_healthy_percentage = 100
      max_healthy_percentage = 150
      auto_rollback          = true
    }
  }
  tag {
    key                 = "Name"
    value               = var.name
    propagate_at_launch = true
  }
  lifecycle {
    # Scaling decides it after the first time.
    ignore_changes = [desired_capacity]
  }
}

resource "aws_autoscaling_policy" "target" {
  count                  = var.scaling == "target" ? 1 : 0
  name                   = "${var.name}-cpu"
  autoscaling_group_name = aws_autoscaling_group.this.name
  policy_type            = "TargetTrackingScaling"
  target_tracking_configuration {
    target_value = 50
    predefined_metric_specification {
      predefined_metric_type = "ASGAverageCPUUtilization"
    }
  }
}

locals {
  steps = {
    up   = { adjustment = 10, threshold = 40, comparison = "GreaterThanThreshold" }
    down = { adjustment = -5, threshold = 10, comparison = "LessThanThreshold" }
  }
}

resource "aws_autoscaling_policy" "step" {
  for_each               = { for name, step in local.steps : name => step if var.scaling == "step" }
  name                   = "${var.name}-${each.key}"
  autoscaling_group_name = aws_autoscaling_group.this.name
  policy_type            = "StepScaling"
  adjustment_type        = "ChangeInCapacity"
  step_adjustment {
    scaling_adjustment          = each.value.adjustment
    metric_interval_lower_bound = each.key == "up" ? "0" : null
    metric_interval_upper_bound = each.key == "down" ? "0" : null
  }
}

resource "aws_cloudwatch_metric_alarm" "step" {
  for_each            = { for name, step in local.steps : name => step if var.scaling == "step" }
  alarm_name          = "${var.name}-cpu-${each.key}"
  alarm_description   = "Scales ${var.name} ${each.key}"
  namespace           = "AWS/EC2"
  metric_name         = "CPUUtilization"
  statistic           = "Average"
  period              = 60
  evaluation_periods  = 3
  threshold           = each.value.threshold
  comparison_operator = each.value.comparison
  dimensions          = { AutoScalingGroupName = aws_autoscaling_group.this.name }
  alarm_actions       = [aws_autoscaling_policy.step[each.key].arn]
}

output "target_group_arn_suffix" {
  value = module.service.target_group_arn_suffix
}

output "security_group" {
  value = module.service.security_group
}

output "role" {
  value = aws_iam_role.this.name
}
