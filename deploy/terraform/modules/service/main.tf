# What a service has behind the balancer, whatever runs it: a target group, the balancer's rule for its hosts, and a security
# group that opens what is needed and nothing else. Used by `fleet` and `container`.

variable "name" {
  type = string
}

variable "what" {
  description = "What runs it, for people: instances or tasks"
  type        = string
}

variable "target_type" {
  description = "What the balancer knows the targets by: instance or ip"
  type        = string
}

variable "vpc_id" {
  type = string
}

variable "listener" {
  type = string
}

variable "balancer_security_group" {
  type = string
}

variable "database_security_group" {
  type = string
}

variable "hosts" {
  type = list(string)
}

variable "priority" {
  description = "Of the balancer's rule, its own for each service"
  type        = number
}

locals {
  # Requests, and the balancer's looks at /ready.
  ports = toset(["3000", "9464"])
}

resource "aws_security_group" "this" {
  name        = "${var.name}-${var.what}"
  description = "The ${var.what} of ${var.name}: from the balancer only"
  vpc_id      = var.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "balancer" {
  for_each                     = local.ports
  security_group_id            = aws_security_group.this.id
  description                  = "The balancer, port ${each.key}"
  referenced_security_group_id = var.balancer_security_group
  ip_protocol                  = "tcp"
  from_port                    = each.key
  to_port                      = each.key
}

resource "aws_vpc_security_group_egress_rule" "balancer" {
  for_each                     = local.ports
  security_group_id            = var.balancer_security_group
  description                  = "The ${var.what} of ${var.name}, port ${each.key}"
  referenced_security_group_id = aws_security_group.this.id
  ip_protocol                  = "tcp"
  from_port                    = each.key
  to_port                      = each.key
}

resource "aws_vpc_security_group_egress_rule" "https" {
  security_group_id = aws_security_group.this.id
  description       = "AWS's own services: S3, SSM, Secrets Manager, CloudWatch, the registry of images"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_security_group_egress_rule" "database" {
  security_group_id            = aws_security_group.this.id
  description                  = "The database"
  referenced_security_group_id = var.database_security_group
  ip_protocol                  = "tcp"
  from_port                    = 3306
  to_port                      = 3306
}

resource "aws_vpc_security_group_ingress_rule" "database" {
  security_group_id            = var.database_security_group
  description                  = "The ${var.what} of ${var.name}"
  referenced_security_group_id = aws_security_group.this.id
  ip_protocol                  = "tcp"
  from_port                    = 3306
  to_port                      = 3306
}

resource "aws_lb_target_group" "this" {
  #checkov:skip=CKV_AWS_378:TLS ends at the balancer; behind it is one private network
  name        = var.name
  vpc_id      = var.vpc_id
  port        = 3000
  protocol    = "HTTP"
  target_type = var.target_type
  # Held polls are answered early when an instance leaves, so this is enough for the slowest short request.
  deregistration_delay          = 30
  slow_start                    = 30
  load_balancing_algorithm_type = "least_outstanding_requests"
  # At /ready rather than /health: it turns 503 when the server begins to leave, and is not public.
  health_check {
    path                = "/ready"
    port                = "9464"
    matcher             = "200"
    interval            = 5
    timeout             = 2
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }
}

resource "aws_lb_listener_rule" "this" {
  listener_arn = var.listener
  priority     = var.priority
  action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.this.arn
  }
  condition {
    host_header {
      values = var.hosts
    }
  }
}

output "target_group_arn" {
  # Nothing may be registered in a group that no listener uses.
  depends_on = [aws_lb_listener_rule.this]
  value      = aws_lb_target_group.this.arn
}

output "target_group_arn_suffix" {
  value = aws_lb_target_group.this.arn_suffix
}

output "security_group" {
  value = aws_security_group.this.id
}
