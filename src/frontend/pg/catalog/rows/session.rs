//! Rows about sessions: activity, settings, prepared statements, cursors.

use super::super::functions::Context;
use super::super::oid;
use super::{Row, int, text};
use datafusion::scalar::ScalarValue;
use std::time::SystemTime;

/// `pg_stat_activity`: the sessions of every door.
pub(super) fn activity(context: &Context) -> Vec<Row> {
    let sessions = context.session().map(|session| session.activity()).unwrap_or_default();
    let row = |info: crate::coordinator::SessionInfo| {
        let ended = |start: SystemTime| start + info.query_elapsed.unwrap_or_default();
        let is_active = info.state == "active";
        let changed = info.query_started.map(|start| if is_active { start } else { ended(start) });
        let address = info.client.map(|client| client.ip().to_string());
        let port = info.client.map(|client| i32::from(client.port()));
        vec![
            ("datid", int(oid::database(&context.database))),
            ("datname", text(&context.database)),
            ("pid", ScalarValue::from(info.pid)),
            ("usesysid", int(oid::OWNER)),
            ("usename", text(&info.user)),
            ("application_name", text(&info.application_name)),
            ("client_addr", ScalarValue::Utf8(address)),
            ("client_port", ScalarValue::Int32(port)),
            ("backend_start", time(Some(info.opened))),
            ("query_start", time(info.query_started)),
            ("state_change", time(changed.or(Some(info.opened)))),
            ("wait_event_type", ScalarValue::Utf8((!is_active).then(|| "Client".to_string()))),
            ("wait_event", ScalarValue::Utf8((!is_active).then(|| "ClientRead".to_string()))),
            ("state", text(info.state)),
            ("query", text(&info.query)),
            ("backend_type", text("client backend")),
        ]
    };
    sessions.into_iter().map(row).collect()
}

/// `pg_settings`: what SHOW ALL has.
pub(super) fn settings(context: &Context) -> Vec<Row> {
    let all = context.session().map(|session| session.all_settings()).unwrap_or_default();
    let row = |shown: crate::coordinator::Shown| {
        vec![
            ("name", text(&shown.name)),
            ("setting", text(&shown.value)),
            ("category", text("Settings")),
            ("short_desc", text(&shown.about)),
            ("context", text("user")),
            ("vartype", text("string")),
            ("source", text("default")),
            ("boot_val", text(&shown.value)),
            ("reset_val", text(&shown.value)),
        ]
    };
    all.into_iter().map(row).collect()
}

/// `pg_prepared_statements`: those of this connection.
pub(super) fn prepared_statements(context: &Context) -> Vec<Row> {
    let row = |statement: &super::super::ShownStatement| {
        let types: Vec<_> = statement.types.iter().map(|name| text(name)).collect();
        let text_type = arrow::datatypes::DataType::Utf8;
        vec![
            ("name", text(&statement.name)),
            ("statement", text(&statement.sql)),
            ("prepare_time", time(Some(statement.prepared))),
            (
                "parameter_types",
                ScalarValue::List(ScalarValue::new_list_nullable(&types, &text_type)),
            ),
            ("from_sql", statement.is_sql.into()),
        ]
    };
    context.named.lock().statements.iter().map(row).collect()
}

/// `pg_cursors`: those of this connection, portals of the protocol included.
pub(super) fn cursors(context: &Context) -> Vec<Row> {
    let row = |cursor: &super::super::ShownCursor| {
        vec![
            ("name", text(&cursor.name)),
            ("statement", text(&cursor.sql)),
            ("is_holdable", cursor.is_holdable.into()),
            ("is_binary", cursor.is_binary.into()),
            ("is_scrollable", cursor.is_scrollable.into()),
            ("creation_time", time(Some(cursor.created))),
        ]
    };
    context.named.lock().cursors.iter().map(row).collect()
}

fn time(time: Option<SystemTime>) -> ScalarValue {
    let micros = time
        .and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok())
        .and_then(|since| i64::try_from(since.as_micros()).ok());
    ScalarValue::TimestampMicrosecond(micros, Some("+00:00".into()))
}
