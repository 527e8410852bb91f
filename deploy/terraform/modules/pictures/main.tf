# The message board's pictures: a private bucket that only CloudFront reads, or a folder that all instances share.

variable "name" {
  type = string
}

variable "kind" {
  description = "s3 (a bucket and CloudFront) or efs (a folder for UPLOAD_DIR)"
  type        = string
  default     = "s3"

  validation {
    condition     = contains(["s3", "efs"], var.kind)
    error_message = "kind is s3 or efs."
  }
}

variable "vpc_id" {
  type = string
}

variable "subnets" {
  type = list(string)
}

variable "fleet_security_groups" {
  description = "Those who may use the folder, by fleet"
  type        = map(string)
}

data "aws_caller_identity" "me" {}

locals {
  s3  = var.kind == "s3" ? 1 : 0
  efs = var.kind == "efs" ? 1 : 0
}

resource "aws_s3_bucket" "this" {
  #checkov:skip=CKV_AWS_18:who read which picture is in CloudFront's log, where that is wanted
  #checkov:skip=CKV_AWS_144:pictures of a message board are not copied to another region
  #checkov:skip=CKV_AWS_145:encrypted with S3's own key: CloudFront needs no grant for it
  #checkov:skip=CKV2_AWS_62:nobody listens
  #checkov:skip=CKV_AWS_21:a picture never changes, and a deleted one is meant to be gone
  #checkov:skip=CKV2_AWS_61:the server deletes what no post came of; only broken uploads are left to the rule below
  count  = local.s3
  bucket = "${var.name}-pictures-${data.aws_caller_identity.me.account_id}"
}

resource "aws_s3_bucket_lifecycle_configuration" "this" {
  count  = local.s3
  bucket = aws_s3_bucket.this[0].id
  rule {
    id     = "broken uploads"
    status = "Enabled"
    filter {}
    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }
}

resource "aws_s3_bucket_public_access_block" "this" {
  count                   = local.s3
  bucket                  = aws_s3_bucket.this[0].id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_policy" "this" {
  count  = local.s3
  bucket = aws_s3_bucket.this[0].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "CloudFrontReads"
        Effect    = "Allow"
        Principal = { Service = "cloudfront.amazonaws.com" }
        Action    = "s3:GetObject"
        Resource  = "${aws_s3_bucket.this[0].arn}/*"
        Condition = { StringEquals = { "AWS:SourceArn" = aws_cloudfront_distribution.this[0].arn } }
      },
      {
        Sid       = "NothingInTheClear"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:*"
        Resource  = [aws_s3_bucket.this[0].arn, "${aws_s3_bucket.this[0].arn}/*"]
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
  })
}

resource "aws_cloudfront_origin_access_control" "this" {
  count                             = local.s3
  name                              = "${var.name}-pictures"
  origin_access_control_origin_type = "s3"
  signing_behavior                  = "always"
  signing_protocol                  = "sigv4"
}

resource "aws_cloudfront_response_headers_policy" "this" {
  count = local.s3
  name  = "${var.name}-pictures"
  security_headers_config {
    content_type_options {
      override = true
    }
    strict_transport_security {
      access_control_max_age_sec = 31536000
      include_subdomains         = true
      preload                    = true
      override                   = true
    }
    content_security_policy {
      content_security_policy = "default-src 'none'; sandbox"
      override                = true
    }
  }
}

resource "aws_cloudfront_distribution" "this" {
  #checkov:skip=CKV_AWS_86:access logs of public pictures are not kept
  #checkov:skip=CKV_AWS_68:static objects, read only
  #checkov:skip=CKV2_AWS_47:as above
  #checkov:skip=CKV_AWS_305:there is no front page
  #checkov:skip=CKV_AWS_310:one origin; S3 is spread over zones by itself
  #checkov:skip=CKV_AWS_374:pictures are for everywhere
  #checkov:skip=CKV_AWS_174:the default certificate's protocol is CloudFront's to set; with a domain of yours use TLSv1.2_2021
  #checkov:skip=CKV2_AWS_42:served under CloudFront's own name
  count       = local.s3
  enabled     = true
  comment     = "${var.name}: pictures"
  price_class = "PriceClass_100"

  origin {
    origin_id                = "bucket"
    domain_name              = aws_s3_bucket.this[0].bucket_regional_domain_name
    origin_access_control_id = aws_cloudfront_origin_access_control.this[0].id
  }
  default_cache_behavior {
    target_origin_id       = "bucket"
    viewer_protocol_policy = "redirect-to-https"
    allowed_methods        = ["GET", "HEAD"]
    cached_methods         = ["GET", "HEAD"]
    compress               = false
    # AWS's "CachingOptimized".
    cache_policy_id            = "658327ea-f89d-4fab-a63d-7e88639e58f6"
    response_headers_policy_id = aws_cloudfront_response_headers_policy.this[0].id
  }
  restrictions {
    geo_restriction {
      restriction_type = "none"
    }
  }
  viewer_certificate {
    cloudfront_default_certificate = true
  }
}

resource "aws_security_group" "efs" {
  count       = local.efs
  name        = "${var.name}-pictures"
  description = "The pictures' folder: NFS from the fleets only"
  vpc_id      = var.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "efs" {
  for_each                     = local.efs == 1 ? var.fleet_security_groups : {}
  security_group_id            = aws_security_group.efs[0].id
  description                  = "Instances of ${each.key}"
  referenced_security_group_id = each.value
  ip_protocol                  = "tcp"
  from_port                    = 2049
  to_port                      = 2049
}

resource "aws_efs_file_system" "this" {
  #checkov:skip=CKV_AWS_184:encrypted with AWS's own key
  count     = local.efs
  encrypted = true
  tags      = { Name = "${var.name}-pictures" }
}

resource "aws_efs_mount_target" "this" {
  count           = local.efs * 3
  file_system_id  = aws_efs_file_system.this[0].id
  subnet_id       = var.subnets[count.index]
  security_groups = [aws_security_group.efs[0].id]
}

output "environment" {
  description = "The server's settings for pictures"
  value = local.s3 == 1 ? {
    S3_BUCKET    = aws_s3_bucket.this[0].bucket
    CDN_BASE_URL = "https://${aws_cloudfront_distribution.this[0].domain_name}"
  } : { UPLOAD_DIR = "/var/lib/hyperdesk/pictures" }
}

output "bucket_arn" {
  value = one(aws_s3_bucket.this[*].arn)
}

output "file_system" {
  value = one(aws_efs_file_system.this[*].id)
}
