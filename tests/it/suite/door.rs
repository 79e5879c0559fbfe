//! A Flight SQL connection that runs statements of any kind and gives their rows as text.

use super::values::{Letter, column_letter, print_rows};
use arrow_flight::error::FlightError;
use arrow_flight::sql::client::FlightSqlServiceClient;
use futures::TryStreamExt;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};

/// How long one statement may take: a hang is a failure.
const STATEMENT_DEADLINE: Duration = Duration::from_secs(60);

/// Opens connections with the settings of a run.
pub struct Connector {
    address: String,
    settings: Vec<String>,
}

/// What a statement gave.
#[derive(Debug, Default)]
pub struct Answer {
    /// One letter a column.
    pub letters: Vec<Letter>,
    /// The rows as lines.
    pub rows: Vec<Vec<String>>,
    /// Rows affected, of a statement without rows.
    pub n_affected: Option<u64>,
}

/// Why a statement failed.
#[derive(Debug)]
pub struct Failure {
    /// Five characters, or empty when the server said none.
    pub sqlstate: String,
    /// The message.
    pub message: String,
}

/// One connection, which is one session.
pub struct Door {
    client: FlightSqlServiceClient<Channel>,
}

impl Connector {
    pub fn new(address: &str, settings: &[&str]) -> Self {
        let settings = settings.iter().map(|&text| text.to_owned()).collect();
        Self { address: address.to_owned(), settings }
    }

    /// Opens a session whose external tables and views go to a schema of its own.
    pub async fn open(&self, schema: &str) -> Door {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        let channel = endpoint.connect().await.unwrap();
        let mut door = Door { client: FlightSqlServiceClient::new(channel) };
        let own_schema = [
            format!("CREATE SCHEMA IF NOT EXISTS {schema}"),
            format!("SET search_path = {schema}"),
        ];
        for sql in self.settings.iter().chain(&own_schema) {
            let answer = door.run(sql).await;
            answer.unwrap_or_else(|failure| panic!("{sql}: {failure:?}"));
        }
        door
    }
}

impl Door {
    /// Runs one statement to its end.
    pub async fn run(&mut self, sql: &str) -> Result<Answer, Failure> {
        match tokio::time::timeout(STATEMENT_DEADLINE, self.answer(sql)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(Failure::from(error)),
            Err(_) => Err(Failure {
                sqlstate: String::new(),
                message: format!("no answer within {STATEMENT_DEADLINE:?}"),
            }),
        }
    }

    async fn answer(&mut self, sql: &str) -> Result<Answer, FlightError> {
        let info = self.client.execute(sql.to_owned(), None).await?;
        let schema = info.clone().try_decode_schema()?;
        let tag = String::from_utf8_lossy(&info.app_metadata).into_owned();
        let n_affected = tag.rsplit(' ').next().and_then(|word| word.parse().ok());
        let letters =
            schema.fields().iter().map(|field| column_letter(field.data_type())).collect();
        let mut rows = vec![];
        for endpoint in info.endpoint {
            let ticket = endpoint.ticket.expect("every endpoint has a ticket");
            let mut stream = self.client.do_get(ticket).await?;
            while let Some(batch) = stream.try_next().await? {
                rows.extend(print_rows(&batch));
            }
        }
        Ok(Answer { letters, rows, n_affected })
    }
}

impl From<FlightError> for Failure {
    fn from(error: FlightError) -> Self {
        let message = match &error {
            FlightError::Tonic(status) => status.message().to_owned(),
            other => other.to_string(),
        };
        let sqlstate = message.rsplit("SQLSTATE: ").next().filter(|code| code.len() == 5);
        Self { sqlstate: sqlstate.unwrap_or_default().to_owned(), message }
    }
}
