# What pages somebody when Prometheus itself is away: a few alarms on what AWS measures. Thresholds are the rules' of
# deploy/prometheus where both see the same.

variable "name" {
  type = string
}

variable "email" {
  type = string
}

variable "balancer" {
  description = "arn_suffix of the load balancer"
  type        = string
}

variable "target_groups" {
  description = "arn_suffix of each fleet's target group"
  type        = map(string)
}

variable "database" {
  description = "Identifier of the database instance or cluster"
  type        = string
}

variable "database_dimension" {
  description = "DBInstanceIdentifier, or DBClusterIdentifier with Aurora"
  type        = string
}

variable "max_connections" {
  type = number
}

resource "aws_sns_topic" "this" {
  name              = "${var.name}-alarms"
  kms_master_key_id = "alias/aws/sns"
}

resource "aws_sns_topic_subscription" "email" {
  topic_arn = aws_sns_topic.this.arn
  protocol  = "email"
  endpoint  = var.email
}

locals {
  database = { (var.database_dimension) = var.database }
  fleets = merge([
    for fleet, target_group in var.target_groups : {
      "${fleet}-5xx" = {
        about      = "${fleet}: the server answers 5xx", metric = "HTTPCode_Target_5XX_Count", statistic = "Sum"
        threshold  = 50, namespace = "AWS/ApplicationELB", seconds = 60, periods = 3
        dimensions = { LoadBalancer = var.balancer, TargetGroup = target_group }
      }
      "${fleet}-unhealthy" = {
        about      = "${fleet}: an instance is not ready", metric = "UnHealthyHostCount", statistic = "Maximum"
        threshold  = 0, namespace = "AWS/ApplicationELB", seconds = 60, periods = 5
        dimensions = { LoadBalancer = var.balancer, TargetGroup = target_group }
      }
    }
  ]...)
  alarms = merge(local.fleets, {
    "balancer-5xx" = {
      about      = "The balancer itself answers 5xx: no instance took the request", metric = "HTTPCode_ELB_5XX_Count"
      statistic  = "Sum", threshold = 10, namespace = "AWS/ApplicationELB", seconds = 60, periods = 2
      dimensions = { LoadBalancer = var.balancer }
    }
    "database-cpu" = {
      about     = "The database's CPU is busy", metric = "CPUUtilization", statistic = "Average"
      threshold = 80, namespace = "AWS/RDS", seconds = 300, periods = 3, dimensions = local.database
    }
    "database-connections" = {
      about      = "The database's connections run out", metric = "DatabaseConnections", statistic = "Maximum"
      threshold  = floor(0.8 * var.max_connections), namespace = "AWS/RDS", seconds = 60, periods = 3
      dimensions = local.database
    }
    "database-replica-lag" = {
      about      = "The replica is behind", statistic = "Maximum", threshold = 30, seconds = 60, periods = 5
      metric     = var.database_dimension == "DBInstanceIdentifier" ? "ReplicaLag" : "AuroraReplicaLagMaximum"
      namespace  = "AWS/RDS"
      dimensions = var.database_dimension == "DBInstanceIdentifier" ? { DBInstanceIdentifier = "${var.database}-reader" } : local.database
    }
  })
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each            = local.alarms
  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.about
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  statistic           = each.value.statistic
  dimensions          = each.value.dimensions
  period              = each.value.seconds
  evaluation_periods  = each.value.periods
  threshold           = each.value.threshold
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.this.arn]
  ok_actions          = [aws_sns_topic.this.arn]
}

output "topic" {
  value = aws_sns_topic.this.arn
}
