//! The Flight SQL service: one method per command, each a few lines over the modules beside it.
//!
//! Called by arrow-flight's dispatch. Commands that carry SQL give a ticket to a pending result; commands about
//! metadata are cheap, so their ticket is the command itself and DoGet computes the answer.

mod calls;

use super::results::{Endpoint, Results};
use super::session::{Client, Clients};
use super::{FlightOptions, actions, announce, info, metadata, statements, status, wire};
use crate::coordinator::{Coordinator, Prepared};
use crate::error::Result;
use crate::shared::Shared;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::server::{FlightSqlService, PeekableFlightDataStream};
use arrow_flight::sql::{
    ActionCancelQueryRequest, ActionCancelQueryResult, ActionClosePreparedStatementRequest,
    ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult, Any, Command,
    CommandGetCatalogs, CommandGetCrossReference, CommandGetDbSchemas, CommandGetExportedKeys,
    CommandGetImportedKeys, CommandGetPrimaryKeys, CommandGetSqlInfo, CommandGetTableTypes,
    CommandGetTables, CommandGetXdbcTypeInfo, CommandPreparedStatementQuery,
    CommandPreparedStatementUpdate, CommandStatementQuery, CommandStatementUpdate,
    DoPutPreparedStatementResult, ProstMessageExt, SqlInfo, TicketStatementQuery,
};
use arrow_flight::{
    Action, FlightDescriptor, FlightInfo, HandshakeRequest, HandshakeResponse, PollInfo,
    SchemaResult, Ticket,
};
use datafusion::scalar::ScalarValue;
use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt, stream};
use prost::Message;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tonic::{Request, Response, Status, Streaming};

/// The service behind every connection.
#[derive(Clone)]
pub struct FlightSql(Shared<Service>);

/// What the service works with.
pub struct Service {
    coordinator: Arc<Coordinator>,
    clients: Clients,
    results: Arc<Results>,
    server: info::ServerInfo,
}

impl Deref for FlightSql {
    type Target = Service;

    fn deref(&self) -> &Service {
        &self.0
    }
}

/// An action's answer.
type ActionResponse = Response<<FlightSql as FlightService>::DoActionStream>;

/// A DoGet's answer.
type GetResponse = Response<<FlightSql as FlightService>::DoGetStream>;

impl FlightSql {
    /// Returns the service of a coordinator.
    ///
    /// # Errors
    /// When the static answers about the server cannot be built.
    pub fn new(coordinator: Arc<Coordinator>, options: FlightOptions) -> Result<Self> {
        let results = Arc::new(Results::new(options.ticket_ttl));
        let clients = Clients::new(Arc::clone(&coordinator), options);
        let server = info::ServerInfo::new()?;
        Ok(Self(Shared::new(Service { coordinator, clients, results, server })))
    }

    /// Forgets unused tokens and tickets, for ever.
    pub async fn expire_forever(&self, interval: Duration) {
        loop {
            tokio::time::sleep(interval).await;
            self.results.expire();
            self.clients.expire();
        }
    }

    /// Returns the schema of what a descriptor's command gives, without running it.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for an unknown command, else what planning gives.
    pub fn schema_of(
        &self,
        request: Request<FlightDescriptor>,
    ) -> BoxFuture<'_, Result<SchemaResult, Status>> {
        let described = async move {
            let command = Any::decode(request.get_ref().cmd.as_ref())
                .map_err(|error| status::refuse("22023", error.to_string(), None))?;
            let command = Command::try_from(command).map_err(FlightError::Arrow)?;
            let schema = match command {
                Command::CommandStatementQuery(query) => {
                    let prepared =
                        statements::prepare(&*self.client(&request)?, &query.query).await?;
                    statements::dataset_schema(&prepared)
                }
                Command::CommandPreparedStatementQuery(query) => {
                    let statement =
                        self.client(&request)?.prepared(&query.prepared_statement_handle)?;
                    statements::dataset_schema(&statement.prepared)
                }
                Command::CommandGetSqlInfo(_) => self.server.sql_info_schema(),
                Command::CommandGetXdbcTypeInfo(_) => self.server.types_schema(),
                other => metadata::schema_of(&other).ok_or_else(|| {
                    let message = format!("command \"{}\" is not supported", other.type_url());
                    status::refuse("0A000", message, None)
                })?,
            };
            Ok(SchemaResult { schema: statements::schema_bytes(&schema)? })
        };
        described.boxed()
    }

    /// Returns the client of a call.
    fn client<T>(&self, request: &Request<T>) -> Result<Arc<Client>, Status> {
        self.clients.resolve(request.metadata(), request.extensions())
    }

    /// Refuses a call of a client that nobody knows, where clients must be known.
    ///
    /// # Errors
    /// As `Clients::resolve`.
    pub fn authorize<T>(&self, request: &Request<T>) -> Result<(), Status> {
        match self.clients.are_known() {
            true => self.client(request).map(|_| ()),
            false => Ok(()),
        }
    }

    /// Announces the result of a planned statement.
    fn announce(
        &self,
        client: Arc<Client>,
        prepared: Arc<Prepared>,
        parameters: Vec<ScalarValue>,
        descriptor: FlightDescriptor,
    ) -> BoxFuture<'_, Result<Response<FlightInfo>, Status>> {
        let announced = async move {
            let result = statements::result(client, prepared, parameters).await?;
            announce::announce(&self.results, result, descriptor).map(Response::new)
        };
        announced.boxed()
    }

    /// Polls for the result of a descriptor: of a command, which starts it, or of the poll before.
    ///
    /// # Errors
    /// What planning and running up to the first row give.
    pub async fn poll(&self, request: Request<FlightDescriptor>) -> Result<PollInfo, Status> {
        if let Some(handle) = announce::polled(request.get_ref()) {
            self.client(&request)?;
            return announce::poll(&self.results, &self.coordinator, handle).boxed().await;
        }
        let info = self.get_flight_info(request).await?.into_inner();
        let handle = announce::results_of(&info).next();
        let Some(handle) = handle else {
            // Metadata is there at once.
            return Ok(PollInfo::new().with_info(info));
        };
        self.results.keep_info(handle, info);
        announce::poll(&self.results, &self.coordinator, handle).boxed().await
    }

    /// Announces the answer to a command about metadata.
    fn announce_metadata<C: ProstMessageExt>(
        &self,
        command: &C,
        schema: Option<SchemaRef>,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.client(&request)?;
        let schema = schema.ok_or_else(|| Status::internal("metadata without a schema"))?;
        let tickets = std::slice::from_ref(command);
        announce::flight_info(request.into_inner(), &schema, tickets).map(Response::new)
    }
}

/// Streams the answer to a command about metadata.
fn send(batch: RecordBatch) -> Result<GetResponse, Status> {
    let schema = batch.schema();
    let messages = wire::encode_batches(stream::iter([Ok(batch)]), schema);
    Ok(Response::new(messages.boxed()))
}

/// Refuses a statement inside a transaction; the server advertises that it has none.
fn check_no_transaction(transaction_id: Option<&bytes::Bytes>) -> Result<(), Status> {
    match transaction_id {
        Some(id) if !id.is_empty() => {
            Err(status::refuse("0A000", "transactions are not supported", None))
        }
        _ => Ok(()),
    }
}

#[tonic::async_trait]
impl FlightSqlService for FlightSql {
    type FlightService = FlightSql;

    async fn do_handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<
        Response<Pin<Box<dyn Stream<Item = Result<HandshakeResponse, Status>> + Send>>>,
        Status,
    > {
        let (metadata, _, mut messages) = request.into_parts();
        let message = messages.message().await?;
        let token = self.clients.log_in(&metadata, message.as_ref())?;
        let payload = token.clone().into_bytes().into();
        let answer = HandshakeResponse { protocol_version: 0, payload };
        let mut response = Response::new(stream::iter([Ok(answer)]).boxed() as Pin<Box<_>>);
        if let Ok(bearer) = format!("Bearer {token}").parse() {
            response.metadata_mut().insert("authorization", bearer);
        }
        Ok(response)
    }

    // Statements.

    async fn get_flight_info_statement(
        &self,
        query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.announce_statement(query, request).await
    }

    async fn do_get_statement(
        &self,
        ticket: TicketStatementQuery,
        _request: Request<Ticket>,
    ) -> Result<GetResponse, Status> {
        self.fetch(Endpoint::parse(&ticket.statement_handle)).await
    }

    async fn do_put_statement_update(
        &self,
        update: CommandStatementUpdate,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        self.update(update, request).await
    }

    // Prepared statements.

    async fn do_action_create_prepared_statement(
        &self,
        query: ActionCreatePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        self.prepare(query, request).await
    }

    async fn do_put_prepared_statement_query(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        self.bind(query, request).await
    }

    async fn get_flight_info_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.announce_prepared(query, request).await
    }

    async fn do_get_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<Ticket>,
    ) -> Result<GetResponse, Status> {
        self.fetch_prepared(query, request).await
    }

    async fn do_put_prepared_statement_update(
        &self,
        update: CommandPreparedStatementUpdate,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        self.update_prepared(update, request).await
    }

    async fn do_action_close_prepared_statement(
        &self,
        query: ActionClosePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<(), Status> {
        self.client(&request)?.close_prepared(&query.prepared_statement_handle);
        Ok(())
    }

    // Cancel and sessions.

    async fn do_action_cancel_query(
        &self,
        query: ActionCancelQueryRequest,
        request: Request<Action>,
    ) -> Result<ActionCancelQueryResult, Status> {
        self.client(&request)?;
        let info = actions::flight_info(&query.info)?;
        let cancelled = actions::cancel(&info, &self.results, &self.coordinator);
        // The older result type has the same numbers.
        Ok(ActionCancelQueryResult { result: cancelled.into() })
    }

    async fn do_action_fallback(
        &self,
        request: Request<Action>,
    ) -> Result<Response<<Self as FlightService>::DoActionStream>, Status> {
        self.act(request).await
    }

    // The server itself.

    async fn get_flight_info_sql_info(
        &self,
        query: CommandGetSqlInfo,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.announce_metadata(&query, Some(self.server.sql_info_schema()), request)
    }

    async fn do_get_sql_info(
        &self,
        query: CommandGetSqlInfo,
        _request: Request<Ticket>,
    ) -> Result<GetResponse, Status> {
        send(self.server.sql_info(query)?)
    }

    async fn get_flight_info_xdbc_type_info(
        &self,
        query: CommandGetXdbcTypeInfo,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.announce_metadata(&query, Some(self.server.types_schema()), request)
    }

    async fn do_get_xdbc_type_info(
        &self,
        query: CommandGetXdbcTypeInfo,
        _request: Request<Ticket>,
    ) -> Result<GetResponse, Status> {
        send(self.server.types(query)?)
    }

    async fn register_sql_info(&self, _id: i32, _result: &SqlInfo) {}

    // The lake.

    async fn get_flight_info_catalogs(
        &self,
        query: CommandGetCatalogs,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let schema = metadata::schema_of(&Command::CommandGetCatalogs(query));
        self.announce_metadata(&query, schema, request)
    }

    async fn do_get_catalogs(
        &self,
        query: CommandGetCatalogs,
        request: Request<Ticket>,
    ) -> Result<GetResponse, Status> {
        self.client(&request)?;
        send(metadata::catalogs(query, self.coordinator.lake()).await?)
    }

    async fn get_flight_info_schemas(
        &self,
        query: CommandGetDbSchemas,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let schema = metadata::schema_of(&Command::CommandGetDbSchemas(query.clone()));
        self.announce_metadata(&query, schema, request)
    }

    async fn do_get_schemas(
        &self,
        query: CommandGetDbSchemas,
        request: Request<Ticket>,
    ) -> Result<GetResponse, Status> {
        self.client(&request)?;
        send(metadata::schemas(query, self.coordinator.lake()).await?)
    }

    async fn get_flight_info_tables(
        &self,
        query: CommandGetTables,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let schema = metadata::schema_of(&Command::CommandGetTables(query.clone()));
        self.announce_metadata(&query, schema, request)
    }

    async fn do_get_tables(
        &self,
        query: CommandGetTables,
        request: Request<Ticket>,
    ) -> Result<GetResponse, Status> {
        self.client(&request)?;
        send(metadata::tables(query, self.coordinator.lake()).await?)
    }

    async fn get_flight_info_table_types(
        &self,
        query: CommandGetTableTypes,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let schema = metadata::schema_of(&Command::CommandGetTableTypes(query));
        self.announce_metadata(&query, schema, request)
    }

    async fn do_get_table_types(
        &self,
        query: CommandGetTableTypes,
        _request: Request<Ticket>,
    ) -> Result<GetResponse, Status> {
        send(metadata::table_types(query)?)
    }

    async fn get_flight_info_primary_keys(
        &self,
        query: CommandGetPrimaryKeys,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.announce_metadata(&query, Some(metadata::primary_keys_schema()), request)
    }

    async fn do_get_primary_keys(
        &self,
        _query: CommandGetPrimaryKeys,
        _request: Request<Ticket>,
    ) -> Result<GetResponse, Status> {
        send(RecordBatch::new_empty(metadata::primary_keys_schema()))
    }

    async fn get_flight_info_exported_keys(
        &self,
        query: CommandGetExportedKeys,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.announce_metadata(&query, Some(metadata::foreign_keys_schema()), request)
    }

    async fn do_get_exported_keys(
        &self,
        _query: CommandGetExportedKeys,
        _request: Request<Ticket>,
    ) -> Result<GetResponse, Status> {
        send(RecordBatch::new_empty(metadata::foreign_keys_schema()))
    }

    async fn get_flight_info_imported_keys(
        &self,
        query: CommandGetImportedKeys,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.announce_metadata(&query, Some(metadata::foreign_keys_schema()), request)
    }

    async fn do_get_imported_keys(
        &self,
        _query: CommandGetImportedKeys,
        _request: Request<Ticket>,
    ) -> Result<GetResponse, Status> {
        send(RecordBatch::new_empty(metadata::foreign_keys_schema()))
    }

    async fn get_flight_info_cross_reference(
        &self,
        query: CommandGetCrossReference,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.announce_metadata(&query, Some(metadata::foreign_keys_schema()), request)
    }

    async fn do_get_cross_reference(
        &self,
        _query: CommandGetCrossReference,
        _request: Request<Ticket>,
    ) -> Result<GetResponse, Status> {
        send(RecordBatch::new_empty(metadata::foreign_keys_schema()))
    }
}
