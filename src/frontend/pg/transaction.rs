//! Transactions of one connection: what state it is in, and what ends with a transaction.
//!
//! Called by `connection` and `local`. Nothing is written in a transaction, so what is undone by a rollback is settings
//! and cursors. Several statements in one message are a transaction of their own unless they say otherwise.

use super::connection::Connection;
use super::failure::{Failure, Interrupt, Severity};
use crate::coordinator::Step;
use pgwire::messages::response::TransactionStatus;

/// The state of a connection's transaction.
#[derive(Debug)]
pub struct Transaction {
    status: TransactionStatus,
    /// Whether the statements of one message are running, which belong together.
    is_implicit: bool,
    savepoints: Vec<String>,
}

impl Default for Transaction {
    fn default() -> Self {
        let status = TransactionStatus::Idle;
        Self { status, is_implicit: false, savepoints: Vec::new() }
    }
}

impl Transaction {
    /// Returns the state `ReadyForQuery` tells.
    pub fn status(&self) -> TransactionStatus {
        self.status
    }

    /// Returns whether a transaction was begun and not ended, failed or not.
    pub fn is_open(&self) -> bool {
        self.status != TransactionStatus::Idle
    }

    /// Returns whether what ends with a transaction survives this statement.
    pub fn is_block(&self) -> bool {
        self.is_open() || self.is_implicit
    }

    /// Returns whether only its end is accepted.
    pub fn has_failed(&self) -> bool {
        self.status == TransactionStatus::Error
    }

    /// Returns the number of savepoints, which a new portal belongs to.
    pub fn depth(&self) -> usize {
        self.savepoints.len()
    }

    /// Notes a failed statement.
    pub fn fail(&mut self) {
        if self.is_open() {
            self.status = TransactionStatus::Error;
        }
    }

    fn find(&self, savepoint: &str) -> Result<usize, Failure> {
        let found = self.savepoints.iter().rposition(|name| name == savepoint);
        found.ok_or_else(|| {
            let message = format!("savepoint \"{savepoint}\" does not exist");
            Failure::new(Severity::Error, "3B001", message)
        })
    }
}

impl Connection {
    /// Begins the transaction that several statements of one message are, unless one is open.
    pub(super) fn enter_implicit_transaction(&mut self) {
        if !self.transaction.is_block() {
            self.transaction.is_implicit = true;
            self.session.transact(Step::Begin);
        }
    }

    /// Ends what lives only as long as the transaction of a message; does nothing in an open one.
    pub(super) fn leave_implicit_transaction(&mut self, succeeded: bool) {
        if !self.transaction.is_open() {
            self.finish_transaction(succeeded);
        }
    }

    pub(super) fn begin(&mut self) -> Result<(), Interrupt> {
        if self.transaction.is_open() {
            return self.warn("25001", "there is already a transaction in progress");
        }
        // Statements of this message that came before belong to it now.
        self.enter_implicit_transaction();
        self.transaction.is_implicit = false;
        self.transaction.status = TransactionStatus::Transaction;
        Ok(())
    }

    /// Ends the transaction; returns the command tag, which tells a client whose commit came too late.
    pub(super) fn end_transaction(
        &mut self,
        rollback: bool,
        chain: bool,
    ) -> Result<&'static str, Interrupt> {
        let tag = if rollback || self.transaction.has_failed() { "ROLLBACK" } else { "COMMIT" };
        if !self.transaction.is_open() {
            if chain {
                let command = if rollback { "ROLLBACK AND CHAIN" } else { "COMMIT AND CHAIN" };
                return Err(outside_of_transaction(command).into());
            }
            self.warn("25P01", "there is no transaction in progress")?;
        }
        self.finish_transaction(tag == "COMMIT");
        if chain {
            self.begin()?;
        }
        Ok(tag)
    }

    fn finish_transaction(&mut self, committed: bool) {
        self.session.transact(if committed { Step::Commit } else { Step::Rollback });
        self.settings_may_differ = true;
        self.transaction = Transaction::default();
        // A cursor WITH HOLD stays once its transaction is committed.
        self.portals.retain(|_, portal| match committed {
            true => portal.hold(),
            false => portal.is_held(),
        });
    }

    pub(super) fn savepoint(&mut self, name: &str) -> Result<&'static str, Interrupt> {
        self.require_transaction("SAVEPOINT")?;
        self.transaction.savepoints.push(name.to_string());
        self.session.transact(Step::Savepoint);
        Ok("SAVEPOINT")
    }

    pub(super) fn release(&mut self, name: &str) -> Result<&'static str, Interrupt> {
        self.require_transaction("RELEASE SAVEPOINT")?;
        let savepoint = self.transaction.find(name)?;
        self.transaction.savepoints.truncate(savepoint);
        self.session.transact(Step::Release(savepoint));
        self.portals.values_mut().for_each(|portal| portal.depth = portal.depth.min(savepoint));
        Ok("RELEASE")
    }

    pub(super) fn rollback_to(&mut self, name: &str) -> Result<&'static str, Interrupt> {
        self.require_transaction("ROLLBACK TO SAVEPOINT")?;
        let savepoint = self.transaction.find(name)?;
        self.transaction.savepoints.truncate(savepoint + 1);
        self.session.transact(Step::RollbackTo(savepoint));
        self.settings_may_differ = true;
        self.portals.retain(|_, portal| portal.depth <= savepoint || portal.is_held());
        self.transaction.status = TransactionStatus::Transaction;
        Ok("ROLLBACK")
    }

    fn require_transaction(&self, command: &str) -> Result<(), Failure> {
        match self.transaction.is_open() {
            true => Ok(()),
            false => Err(outside_of_transaction(command)),
        }
    }
}

/// A command that means nothing outside of a transaction.
pub(super) fn outside_of_transaction(command: &str) -> Failure {
    let message = format!("{command} can only be used in transaction blocks");
    Failure::new(Severity::Error, "25P01", message)
}
