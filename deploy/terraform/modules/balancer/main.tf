# The application load balancer: HTTPS with a certificate of ACM, HTTP only to redirect, and nothing behind it unless a
# fleet's rule names the host.

variable "name" {
  type = string
}

variable "vpc_id" {
  type = string
}

variable "subnets" {
  description = "Public subnets in at least two zones"
  type        = list(string)
}

variable "zone_id" {
  description = "Hosted zone of Route 53 that the hosts are in"
  type        = string
}

variable "hosts" {
  description = "Every host name that is served; the first is the certificate's name"
  type        = list(string)

  validation {
    condition     = length(var.hosts) > 0
    error_message = "There is no host to serve."
  }
}

variable "log_bucket" {
  description = "Bucket for access logs, whose policy lets the balancer write; null for none"
  type        = string
  default     = null
}

resource "aws_security_group" "this" {
  name        = "${var.name}-balancer"
  description = "The balancer: HTTPS and HTTP from everywhere"
  vpc_id      = var.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "in" {
  #checkov:skip=CKV_AWS_260:port 80 only redirects to HTTPS
  for_each          = toset(["80", "443"])
  security_group_id = aws_security_group.this.id
  description       = "The world, port ${each.key}"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = each.key
  to_port           = each.key
}

resource "aws_acm_certificate" "this" {
  domain_name               = var.hosts[0]
  subject_alternative_names = slice(var.hosts, 1, length(var.hosts))
  validation_method         = "DNS"
  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_route53_record" "validation" {
  for_each = toset(var.hosts)
  zone_id  = var.zone_id
  name     = one([for option in aws_acm_certificate.this.domain_validation_options : option.resource_record_name if option.domain_name == each.key])
  type     = one([for option in aws_acm_certificate.this.domain_validation_options : option.resource_record_type if option.domain_name == each.key])
  records  = [one([for option in aws_acm_certificate.this.domain_validation_options : option.resource_record_value if option.domain_name == each.key])]
  ttl      = 60
}

resource "aws_acm_certificate_validation" "this" {
  certificate_arn         = aws_acm_certificate.this.arn
  validation_record_fqdns = [for record in aws_route53_record.validation : record.fqdn]
}

resource "aws_lb" "this" {
  #checkov:skip=CKV_AWS_91:access logs are on where log_bucket is given
  #checkov:skip=CKV2_AWS_28:a firewall is the operator's choice; the server limits guessing and sizes itself
  name               = var.name
  load_balancer_type = "application"
  security_groups    = [aws_security_group.this.id]
  subnets            = var.subnets
  # Above the longest held poll (55 s), below the server's own idle limit (75 s).
  idle_timeout               = 60
  desync_mitigation_mode     = "strictest"
  drop_invalid_header_fields = true
  # The client's port is not part of its address.
  enable_xff_client_port     = false
  xff_header_processing_mode = "append"
  enable_deletion_protection = true

  dynamic "access_logs" {
    for_each = var.log_bucket == null ? [] : [var.log_bucket]
    content {
      bucket  = access_logs.value
      enabled = true
    }
  }
}

resource "aws_lb_listener" "redirect" {
  load_balancer_arn = aws_lb.this.arn
  port              = 80
  protocol          = "HTTP"
  default_action {
    type = "redirect"
    redirect {
      protocol    = "HTTPS"
      port        = "443"
      status_code = "HTTP_301"
    }
  }
}

resource "aws_lb_listener" "https" {
  load_balancer_arn = aws_lb.this.arn
  port              = 443
  protocol          = "HTTPS"
  ssl_policy        = "ELBSecurityPolicy-TLS13-1-2-2021-06"
  certificate_arn   = aws_acm_certificate_validation.this.certificate_arn
  # A host that no fleet serves.
  default_action {
    type = "fixed-response"
    fixed_response {
      content_type = "text/plain"
      message_body = "no such host"
      status_code  = "404"
    }
  }
}

resource "aws_route53_record" "host" {
  for_each = toset(var.hosts)
  zone_id  = var.zone_id
  name     = each.key
  type     = "A"
  alias {
    name                   = aws_lb.this.dns_name
    zone_id                = aws_lb.this.zone_id
    evaluate_target_health = false
  }
}

output "security_group" {
  value = aws_security_group.this.id
}

output "listener" {
  value = aws_lb_listener.https.arn
}

output "arn_suffix" {
  value = aws_lb.this.arn_suffix
}
