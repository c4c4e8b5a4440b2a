variable "name" {
  description = "Of the pipeline in this environment: what all resources are called."
  type        = string
}

variable "region" {
  description = "Where all of it is."
  type        = string
}

variable "bucket" {
  description = "The bucket of deliveries, models, records and pages; its name is global."
  type        = string
}

variable "image_tag" {
  description = "The image that the stages run in: the commit that it was made of."
  type        = string
}

variable "clients" {
  description = "Who may ask for estimates: blocks of addresses, as 203.0.113.0/24."
  type        = list(string)
}

variable "certificate_arn" {
  description = "Of the load balancer, in ACM; without one it answers unencrypted HTTP."
  type        = string
  default     = null
}

variable "operators" {
  description = "The e-mail addresses of those who are told that a run failed."
  type        = list(string)
}

variable "reports_address" {
  description = "Where people open the pages, for the links in messages; may be empty."
  type        = string
  default     = ""
}

variable "r_squared_error" {
  description = "Training refuses a model below it."
  type        = number
  default     = 0.8
}

variable "r_squared_warning" {
  description = "Training warns of a model below it."
  type        = number
  default     = 0.9
}

# What the stages take is measured in bodywork.yaml; Fargate has these steps.
variable "training_size" {
  description = "CPU (1024 are one) and memory (MiB) of training."
  type        = object({ cpu = number, memory = number })
  default     = { cpu = 1024, memory = 2048 }
}

variable "service_size" {
  description = "CPU (1024 are one) and memory (MiB) of each replica of the service."
  type        = object({ cpu = number, memory = number })
  default     = { cpu = 256, memory = 512 }
}

variable "replicas" {
  description = "How many replicas answer."
  type        = number
  default     = 2
}
