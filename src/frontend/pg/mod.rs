//! The PostgreSQL door: listener, connections, and the translation of sessions to PostgreSQL's wire protocol 3.0.
//!
//! Messages are encoded and decoded by pgwire; what they mean is decided here, per connection.
