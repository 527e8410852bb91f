require_relative "application"

run Peer::Application
