# What one would write with Rails in its API form: the three update endpoints and POST /messages on hyperdesk's schema,
# ActiveRecord for all of it, one or two queries for each poll. In one file, as it is small. See ../README.md.

require "action_controller/railtie"
require "active_record/railtie"
require "jwt"

module Peer
  class Application < Rails::Application
    config.load_defaults 6.1
    config.api_only = true
    config.eager_load = true
    config.secret_key_base = ENV.fetch("SECRET_KEY_BASE")
    config.logger = Logger.new($stderr)
    config.log_level = :warn
    config.active_record.default_timezone = :utc
    config.hosts.clear
    # As ActiveRecord writes times: with the microseconds of DATETIME(6).
    ActiveSupport::JSON::Encoding.time_precision = 6
  end
end

# Rails reads DATABASE_URL by itself; the scheme that its adapter knows, and a connection for each thread.
url = ENV.fetch("DATABASE_URL").sub(/\Amysql:/, "mysql2:")
ENV["DATABASE_URL"] = "#{url}?pool=#{ENV.fetch('DB_POOL_SIZE', '10')}&encoding=utf8mb4"

class ApplicationRecord < ActiveRecord::Base
  self.abstract_class = true
end

class User < ApplicationRecord
end

class Message < ApplicationRecord
  belongs_to :conversation
  belongs_to :sender, class_name: "User"

  def as_json(*)
    {
      id: id.to_s, conversationId: conversation_id.to_s, senderId: sender_id.to_s, senderUsername: sender.username,
      senderRole: sender_role, content: content, timestamp: created_at.iso8601(6), isRead: is_read
    }
  end
end

class Conversation < ApplicationRecord
  belongs_to :initiator, class_name: "User"
  belongs_to :assigned_expert, class_name: "User", optional: true
  has_many :messages

  scope :of, ->(user) { where(initiator_id: user).or(where(assigned_expert_id: user)) }
  scope :told, -> { includes(:initiator, :assigned_expert) }

  def told_to(user)
    {
      id: id.to_s, title: title, status: status,
      questionerId: initiator_id.to_s, questionerUsername: initiator.username,
      assignedExpertId: assigned_expert_id&.to_s, assignedExpertUsername: assigned_expert&.username,
      createdAt: created_at.iso8601(6), updatedAt: updated_at.iso8601(6), lastMessageAt: last_message_at&.iso8601(6),
      unreadCount: unread - (initiator_id == user ? unread_from_initiator : unread_from_expert),
      messageCount: message_count
    }
  end
end

class ApplicationController < ActionController::API
  LIST_MAX = 1_000
  QUEUE_PAGE = 100

  before_action :authenticate

  private

  def authenticate
    token = request.headers["Authorization"].to_s[/\ABearer (.+)\z/, 1]
    @user = JWT.decode(token, ENV.fetch("SECRET_KEY_BASE"), true, algorithm: "HS256").first.fetch("user_id")
  rescue JWT::DecodeError, KeyError
    render json: { error: "Unauthorized" }, status: :unauthorized
  end

  def since
    params[:since] ? Time.iso8601(params[:since]) : Time.at(0)
  rescue ArgumentError
    render json: { error: "Invalid timestamp format" }, status: :bad_request
    nil
  end
end

class UpdatesController < ApplicationController
  def conversations
    return unless (from = since)
    changed = Conversation.of(@user).told.where("updated_at > ?", from).order(:updated_at, :id).limit(LIST_MAX)
    render json: changed.map { |one| one.told_to(@user) }
  end

  def messages
    return unless (from = since)
    mine = Message.joins(:conversation).merge(Conversation.of(@user)).includes(:sender)
    render json: mine.where("messages.created_at > ?", from).order(:created_at, :id).limit(LIST_MAX)
  end

  def queue
    return unless (from = since)
    waiting = Conversation.where(status: "waiting")
    assigned = Conversation.where(assigned_expert_id: @user)
    newest = [waiting.maximum(:updated_at), assigned.maximum(:updated_at)].compact.max
    return render(json: []) unless newest && newest > from
    render json: [{
      waitingConversations: waiting.told.order(:created_at, :id).limit(QUEUE_PAGE).map { |one| one.told_to(@user) },
      assignedConversations: assigned.where(status: "active").told.order(updated_at: :desc).limit(QUEUE_PAGE)
                                     .map { |one| one.told_to(@user) }
    }]
  end
end

class MessagesController < ApplicationController
  # The inserts of hyperdesk's POST /messages, without the feed's row.
  def create
    message = Conversation.transaction do
      conversation = Conversation.of(@user).lock.find(params[:conversationId])
      is_initiator = conversation.initiator_id == @user
      now = Time.now.utc
      counts = is_initiator ? { unread_from_initiator: 1 } : { unread_from_expert: 1 }
      Conversation.update_counters(conversation.id, { unread: 1, message_count: 1 }.merge(counts))
      conversation.update_columns(updated_at: now, last_message_at: now, message_counted_at: now)
      conversation.messages.create!(
        sender_id: @user, sender_role: is_initiator ? "initiator" : "expert", content: params[:content]
      )
    end
    render json: message, status: :created
  rescue ActiveRecord::RecordNotFound
    render json: { error: "Conversation not found" }, status: :not_found
  end
end

class HealthController < ActionController::API
  def show
    render json: { status: "ok" }
  end
end

Peer::Application.initialize!

Peer::Application.routes.draw do
  get "/health", to: "health#show"
  get "/api/conversations/updates", to: "updates#conversations"
  get "/api/messages/updates", to: "updates#messages"
  get "/api/expert-queue/updates", to: "updates#queue"
  post "/messages", to: "messages#create"
end
