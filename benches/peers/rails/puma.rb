# Puma as Rails' own generator sets it up: five threads, a worker for each core that it may have.
threads 5, 5
workers Integer(ENV.fetch("WEB_CONCURRENCY", "0"))
bind "tcp://127.0.0.1:#{ENV.fetch('PORT')}"
environment "production"
rackup File.join(__dir__, "config.ru")
quiet
