//! Flight actions beyond those arrow-flight dispatches: cancel a result, read, change and close a session.
//!
//! Called by `sql` for every action it does not know. arrow-flight 59 has no messages for sessions, so those of
//! the Flight protocol are declared here; field numbers and names are the protocol's.

use super::results::{Cancelled, Results};
use super::session::Client;
use super::{announce, status};
use crate::coordinator::{Coordinator, Session};
use arrow_flight::{
    Action, ActionType, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightInfo,
};
use prost::Message;
use std::collections::HashMap;
use std::sync::Arc;
use tonic::Status;

const CANCEL_FLIGHT_INFO: &str = "CancelFlightInfo";
const SET_SESSION_OPTIONS: &str = "SetSessionOptions";
const GET_SESSION_OPTIONS: &str = "GetSessionOptions";
const CLOSE_SESSION: &str = "CloseSession";

/// Settings GetSessionOptions tells, those drivers ask for.
const TOLD_SETTINGS: [&str; 3] = ["search_path", "timezone", "statement_timeout"];

/// Value of a session option.
#[derive(Clone, PartialEq, Message)]
struct OptionValue {
    #[prost(oneof = "OptionKind", tags = "1, 2, 3, 4, 5")]
    value: Option<OptionKind>,
}

/// The types a session option may have.
#[derive(Clone, PartialEq, prost::Oneof)]
enum OptionKind {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(bool, tag = "2")]
    Bool(bool),
    #[prost(sfixed64, tag = "3")]
    Int(i64),
    #[prost(double, tag = "4")]
    Double(f64),
    #[prost(message, tag = "5")]
    List(TextList),
}

/// A list of texts.
#[derive(Clone, PartialEq, Message)]
struct TextList {
    #[prost(string, repeated, tag = "1")]
    values: Vec<String>,
}

/// Body of SetSessionOptions, and the answer of GetSessionOptions.
#[derive(Clone, PartialEq, Message)]
struct SessionOptionMap {
    #[prost(map = "string, message", tag = "1")]
    options: HashMap<String, OptionValue>,
}

/// Answer of SetSessionOptions: what was refused.
#[derive(Clone, PartialEq, Message)]
struct SetSessionOptionsResult {
    #[prost(map = "string, message", tag = "1")]
    errors: HashMap<String, OptionError>,
}

/// Why an option was refused: 1 for its name, 2 for its value.
#[derive(Clone, PartialEq, Message)]
struct OptionError {
    #[prost(int32, tag = "1")]
    value: i32,
}

/// Answer of CloseSession.
#[derive(Clone, PartialEq, Message)]
struct CloseSessionResult {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// The session is closed.
const CLOSED: i32 = 1;

/// Returns the actions this server offers.
pub fn list() -> impl Iterator<Item = ActionType> {
    [
        ("CreatePreparedStatement", "Plans a statement to be run later, once or often."),
        ("ClosePreparedStatement", "Forgets a prepared statement."),
        ("CancelQuery", "Cancels a result by its FlightInfo; older form of CancelFlightInfo."),
        (CANCEL_FLIGHT_INFO, "Cancels a result by its FlightInfo."),
        (SET_SESSION_OPTIONS, "Changes settings of the session, as SET does."),
        (GET_SESSION_OPTIONS, "Returns settings of the session, as SHOW does."),
        (CLOSE_SESSION, "Closes the session: settings and prepared statements are gone."),
    ]
    .into_iter()
    .map(|(name, description)| ActionType { r#type: name.into(), description: description.into() })
}

/// An action of this module, decoded.
pub enum Request {
    /// Cancel the result of a FlightInfo.
    Cancel(FlightInfo),
    /// Change settings.
    SetOptions(OptionChanges),
    /// Tell settings.
    GetOptions,
    /// Close the session.
    CloseSession,
}

/// Settings to change.
pub struct OptionChanges(SessionOptionMap);

/// Decodes an action.
///
/// # Errors
/// UNIMPLEMENTED for an action this server does not offer, INVALID_ARGUMENT for a body that cannot be read.
pub fn decode(action: &Action) -> Result<Request, Status> {
    let body = action.body.as_ref();
    match action.r#type.as_str() {
        CANCEL_FLIGHT_INFO => {
            let request = CancelFlightInfoRequest::decode(body).map_err(bad_body)?;
            Ok(Request::Cancel(request.info.unwrap_or_default()))
        }
        SET_SESSION_OPTIONS => {
            let options = SessionOptionMap::decode(body).map_err(bad_body)?;
            Ok(Request::SetOptions(OptionChanges(options)))
        }
        GET_SESSION_OPTIONS => Ok(Request::GetOptions),
        CLOSE_SESSION => Ok(Request::CloseSession),
        other => Err(status::refuse("0A000", format!("action \"{other}\" is not supported"), None)),
    }
}

/// Returns what a client is told of a body that is not what its action asks for.
fn bad_body(error: prost::DecodeError) -> Status {
    status::refuse("22023", format!("the message cannot be read: {error}"), None)
}

/// Cancels the results a FlightInfo names and says how far that got.
pub fn cancel(info: &FlightInfo, results: &Results, coordinator: &Coordinator) -> CancelStatus {
    let mut cancelled = CancelStatus::NotCancellable;
    for handle in announce::results_of(info) {
        match results.cancel(handle, coordinator) {
            Cancelled::BeforeStart => cancelled = CancelStatus::Cancelled,
            Cancelled::Running => return CancelStatus::Cancelling,
            Cancelled::Unknown => {}
        }
    }
    cancelled
}

/// Reads the FlightInfo of the older cancel action.
///
/// # Errors
/// INVALID_ARGUMENT when it is none.
pub fn flight_info(bytes: &[u8]) -> Result<FlightInfo, Status> {
    FlightInfo::decode(bytes).map_err(bad_body)
}

/// Returns the body that answers a cancel.
pub fn cancel_answer(status: CancelStatus) -> Vec<u8> {
    CancelFlightInfoResult::new(status).encode_to_vec()
}

/// Returns the body that answers CloseSession.
pub fn close_answer() -> Vec<u8> {
    CloseSessionResult { status: CLOSED }.encode_to_vec()
}

/// Returns the settings drivers ask for, and under the protocol's names the catalog and the first schema to look in.
pub fn get_options(session: &Session, catalog: &str) -> Vec<u8> {
    let settings = TOLD_SETTINGS.into_iter();
    let mut told: Vec<(&str, String)> =
        settings.filter_map(|name| Some((name, session.setting(name)?))).collect();
    let search_path = session.setting("search_path").unwrap_or_default();
    told.push(("catalog", catalog.to_string()));
    told.push(("schema", first_schema(&search_path).to_string()));
    let options = told.into_iter().map(|(name, text)| {
        let value = Some(OptionKind::Text(text));
        (name.to_string(), OptionValue { value })
    });
    SessionOptionMap { options: options.collect() }.encode_to_vec()
}

/// Returns the first schema of a search path that is not a user's own.
fn first_schema(search_path: &str) -> &str {
    let schemas = search_path.split(',').map(|schema| schema.trim().trim_matches('"'));
    schemas.into_iter().find(|schema| !schema.is_empty() && *schema != "$user").unwrap_or("public")
}

/// Changes settings one by one and returns which were refused, and why.
pub async fn set_options(client: &Arc<Client>, changes: OptionChanges, catalog: &str) -> Vec<u8> {
    let mut errors = HashMap::new();
    for (name, value) in changes.0.options {
        if name == "catalog" {
            // It is chosen when a client connects; drivers set it all the same.
            if value.value != Some(OptionKind::Text(catalog.to_string())) {
                errors.insert(name, OptionError { value: 2 });
            }
            continue;
        }
        let Some(sql) = set_statement(&name, value.value) else {
            errors.insert(name, OptionError { value: 1 });
            continue;
        };
        if let Err(error) = client.session.execute(&sql).await {
            let of_name = error.report().sqlstate == "42704";
            errors.insert(name, OptionError { value: if of_name { 1 } else { 2 } });
        }
    }
    SetSessionOptionsResult { errors }.encode_to_vec()
}

/// Returns the SET statement of an option; without a value the setting goes back to its default. Drivers name the
/// schema to look in `schema`. `None` for a name no setting can have.
fn set_statement(name: &str, value: Option<OptionKind>) -> Option<String> {
    let setting = if name == "schema" { "search_path" } else { name };
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    if setting.is_empty() || !setting.chars().all(is_name) {
        return None;
    }
    let text = match value {
        None => return Some(format!("RESET {setting}")),
        Some(OptionKind::Text(text)) => text,
        Some(OptionKind::Bool(value)) => value.to_string(),
        Some(OptionKind::Int(value)) => value.to_string(),
        Some(OptionKind::Double(value)) => value.to_string(),
        Some(OptionKind::List(list)) => list.values.join(", "),
    };
    Some(format!("SET {setting} = '{}'", text.replace('\'', "''")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_set_statements() {
        let text = |text: &str| Some(OptionKind::Text(text.into()));
        assert_eq!(set_statement("timezone", text("UTC")).unwrap(), "SET timezone = 'UTC'");
        assert_eq!(set_statement("schema", text("o'x")).unwrap(), "SET search_path = 'o''x'");
        assert_eq!(
            set_statement("saltlake.a", Some(OptionKind::Int(4))).unwrap(),
            "SET saltlake.a = '4'"
        );
        assert_eq!(set_statement("timezone", None).unwrap(), "RESET timezone");
        assert_eq!(set_statement("a; DROP TABLE b", text("x")), None);
    }

    #[test]
    fn the_first_schema_is_not_a_users_own() {
        assert_eq!(first_schema("\"$user\", public"), "public");
        assert_eq!(first_schema("nyc, public"), "nyc");
        assert_eq!(first_schema(""), "public");
    }

    #[test]
    fn an_unknown_action_is_not_supported() {
        let Err(status) = decode(&Action::new("Levitate", "")) else { panic!("accepted") };
        assert_eq!(status.code(), tonic::Code::Unimplemented);
        let Err(status) = decode(&Action::new(CANCEL_FLIGHT_INFO, "\u{1}")) else {
            panic!("accepted")
        };
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
    }
}
