//! What the service does with statements, each as a future whose type is hidden: the methods of the service that await
//! them need not prove again that all the engine behind them may cross threads (see `shared`).

use super::super::results::Endpoint;
use super::super::{actions, statements, status};
use super::{ActionResponse, FlightSql, GetResponse, check_no_transaction};
use arrow_flight::sql::server::PeekableFlightDataStream;
use arrow_flight::sql::{
    ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult,
    CommandPreparedStatementQuery, CommandPreparedStatementUpdate, CommandStatementQuery,
    CommandStatementUpdate, DoPutPreparedStatementResult,
};
use arrow_flight::{Action, FlightDescriptor, FlightInfo, Ticket};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Metadata key that tells the id of the query whose rows follow.
const QUERY_ID_HEADER: &str = "x-saltlake-query-id";

impl FlightSql {
    pub(super) fn fetch(
        &self,
        ticket: Option<Endpoint>,
    ) -> BoxFuture<'_, Result<GetResponse, Status>> {
        self.fetch_rows(ticket).boxed()
    }

    pub(super) fn fetch_prepared(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<Ticket>,
    ) -> BoxFuture<'_, Result<GetResponse, Status>> {
        self.run_prepared(query, request).boxed()
    }

    pub(super) fn announce_statement(
        &self,
        query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> BoxFuture<'_, Result<Response<FlightInfo>, Status>> {
        let announced = async move {
            check_no_transaction(query.transaction_id.as_ref())?;
            let client = self.client(&request)?;
            let prepared = Arc::new(statements::prepare(&client, &query.query).await?);
            self.announce(client, prepared, Vec::new(), request.into_inner()).await
        };
        announced.boxed()
    }

    pub(super) fn update(
        &self,
        update: CommandStatementUpdate,
        request: Request<PeekableFlightDataStream>,
    ) -> BoxFuture<'_, Result<i64, Status>> {
        let updated = async move {
            check_no_transaction(update.transaction_id.as_ref())?;
            statements::update(&*self.client(&request)?, &update.query).await
        };
        updated.boxed()
    }

    pub(super) fn update_prepared(
        &self,
        update: CommandPreparedStatementUpdate,
        request: Request<PeekableFlightDataStream>,
    ) -> BoxFuture<'_, Result<i64, Status>> {
        let updated = async move {
            let client = self.client(&request)?;
            let statement = client.prepared(&update.prepared_statement_handle)?;
            statements::update_prepared(&client, &statement.prepared, request.into_inner()).await
        };
        updated.boxed()
    }

    pub(super) fn prepare(
        &self,
        query: ActionCreatePreparedStatementRequest,
        request: Request<Action>,
    ) -> BoxFuture<'_, Result<ActionCreatePreparedStatementResult, Status>> {
        Box::pin(async move {
            check_no_transaction(query.transaction_id.as_ref())?;
            let client = self.client(&request)?;
            let prepared = statements::prepare(&client, &query.query).await?;
            let dataset_schema = match &prepared.schema {
                Some(_) => statements::schema_bytes(&statements::dataset_schema(&prepared))?,
                None => bytes::Bytes::new(),
            };
            let parameter_schema =
                statements::schema_bytes(&statements::parameter_schema(&prepared))?;
            let prepared_statement_handle = client.add_prepared(prepared)?.to_bytes();
            Ok(ActionCreatePreparedStatementResult {
                prepared_statement_handle,
                dataset_schema,
                parameter_schema,
            })
        })
    }

    pub(super) fn bind(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<PeekableFlightDataStream>,
    ) -> BoxFuture<'_, Result<DoPutPreparedStatementResult, Status>> {
        Box::pin(async move {
            let statement = self.client(&request)?.prepared(&query.prepared_statement_handle)?;
            let values = statements::bind(&statement.prepared, request.into_inner()).await?;
            *statement.parameters.lock() = values;
            let prepared_statement_handle = Some(query.prepared_statement_handle);
            Ok(DoPutPreparedStatementResult { prepared_statement_handle })
        })
    }

    pub(super) fn announce_prepared(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> BoxFuture<'_, Result<Response<FlightInfo>, Status>> {
        Box::pin(async move {
            let client = self.client(&request)?;
            let statement = client.prepared(&query.prepared_statement_handle)?;
            let values = statement.parameters.lock().clone();
            let prepared = Arc::clone(&statement.prepared);
            self.announce(client, prepared, values, request.into_inner()).await
        })
    }

    pub(super) fn act(
        &self,
        request: Request<Action>,
    ) -> BoxFuture<'_, Result<ActionResponse, Status>> {
        self.run_action(request).boxed()
    }

    /// Streams the rows of an endpoint of an announced result.
    async fn fetch_rows(&self, ticket: Option<Endpoint>) -> Result<GetResponse, Status> {
        let ticket =
            ticket.ok_or_else(|| status::refuse("22023", "the ticket is not ours", None))?;
        let (rows, query_id) = self.results.fetch(ticket).await?;
        let mut response = Response::new(rows);
        if let Some(id) = query_id.and_then(|id| id.to_string().parse().ok()) {
            response.metadata_mut().insert(QUERY_ID_HEADER, id);
        }
        Ok(response)
    }

    /// Runs a prepared statement with its bound values.
    async fn run_prepared(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<Ticket>,
    ) -> Result<GetResponse, Status> {
        let client = self.client(&request)?;
        let statement = client.prepared(&query.prepared_statement_handle)?;
        let values = statement.parameters.lock().clone();
        let prepared = Arc::clone(&statement.prepared);
        let mut result = statements::result(client, prepared, values).await?;
        result.n_endpoints = 1;
        let tickets = self.results.announce(result)?;
        self.fetch_rows(tickets.first().copied()).await
    }

    /// Answers an action that Flight SQL's own dispatch leaves to us.
    async fn run_action(&self, request: Request<Action>) -> Result<ActionResponse, Status> {
        let client = self.client(&request)?;
        let catalog = client.session.database();
        let body = match actions::decode(request.get_ref())? {
            actions::Request::Cancel(info) => {
                actions::cancel_answer(actions::cancel(&info, &self.results, &self.coordinator))
            }
            actions::Request::SetOptions(changes) => {
                actions::set_options(&client, changes, catalog).await
            }
            actions::Request::GetOptions => actions::get_options(&client.session, catalog),
            actions::Request::CloseSession => {
                self.clients.log_out(request.metadata(), request.extensions());
                actions::close_answer()
            }
        };
        Ok(Response::new(stream::iter([Ok(arrow_flight::Result::new(body))]).boxed()))
    }
}
