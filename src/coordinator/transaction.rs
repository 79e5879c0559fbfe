//! Settings while a transaction is open: what SET did is undone by ROLLBACK, what SET LOCAL did by its end.
//!
//! Called by `Session`. Two values are kept of each setting: the one in force and the one that lasts. SET changes both,
//! SET LOCAL the first only; a commit makes the lasting ones the ones in force.

use super::settings::Settings;
use datafusion::config::ConfigOptions;

/// How long a changed setting stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Until the session ends, unless the transaction is rolled back.
    Session,
    /// Until the transaction ends.
    Transaction,
}

/// What happens to a transaction. Savepoints are numbered from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It begins.
    Begin,
    /// It ends and its changes last.
    Commit,
    /// It ends and its changes are undone.
    Rollback,
    /// A savepoint is set.
    Savepoint,
    /// Changes since this savepoint are undone; later savepoints are gone.
    RollbackTo(usize),
    /// This savepoint and later ones are gone; their changes stay.
    Release(usize),
}

/// The values of all settings.
#[derive(Debug, Clone)]
pub(super) struct Values {
    pub(super) settings: Settings,
    pub(super) options: ConfigOptions,
}

/// Settings at one moment: in force, and lasting.
#[derive(Debug, Clone)]
struct Moment {
    in_force: Values,
    lasting: Values,
}

/// An open transaction.
#[derive(Debug)]
pub(super) struct Transaction {
    lasting: Values,
    /// As they were at its begin, then at each savepoint.
    saved: Vec<Moment>,
}

impl Transaction {
    /// Returns what SET, other than SET LOCAL, has to change too.
    pub(super) fn lasting_mut(&mut self) -> &mut Values {
        &mut self.lasting
    }

    /// Takes a step; returns the values now in force when they are others than `now`.
    ///
    /// A step that does not fit, such as a commit without a transaction, changes nothing.
    pub(super) fn step(open: &mut Option<Self>, step: Step, now: Values) -> Option<Values> {
        let Some(transaction) = open else {
            if step == Step::Begin {
                let start = Moment { in_force: now.clone(), lasting: now.clone() };
                *open = Some(Self { lasting: now, saved: vec![start] });
            }
            return None;
        };
        match step {
            Step::Begin => None,
            Step::Commit => open.take().map(|transaction| transaction.lasting),
            Step::Rollback => {
                let start = open.take()?.saved.into_iter().next()?;
                Some(start.in_force)
            }
            Step::Savepoint => {
                let lasting = transaction.lasting.clone();
                transaction.saved.push(Moment { in_force: now, lasting });
                None
            }
            Step::RollbackTo(savepoint) => {
                let then = transaction.saved.get(savepoint + 1)?.clone();
                transaction.saved.truncate(savepoint + 2);
                transaction.lasting = then.lasting;
                Some(then.in_force)
            }
            Step::Release(savepoint) => {
                transaction.saved.truncate(savepoint + 1);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A session of one setting, without the rest.
    struct Session {
        now: Values,
        transaction: Option<Transaction>,
    }

    impl Session {
        fn new() -> Self {
            let now = Values { settings: Settings::default(), options: ConfigOptions::new() };
            Self { now, transaction: None }
        }

        fn set(&mut self, value: &str, scope: Scope) {
            let set = |values: &mut Values| {
                let Values { settings, options } = values;
                settings.set(options, "application_name", value).unwrap();
            };
            set(&mut self.now);
            if let (Scope::Session, Some(transaction)) = (scope, &mut self.transaction) {
                set(transaction.lasting_mut());
            }
        }

        fn step(&mut self, step: Step) -> String {
            if let Some(then) = Transaction::step(&mut self.transaction, step, self.now.clone()) {
                self.now = then;
            }
            self.now.settings.get(&self.now.options, "application_name").unwrap()
        }
    }

    #[test]
    fn set_lasts_and_set_local_ends_with_the_transaction() {
        let mut session = Session::new();
        session.step(Step::Begin);
        session.set("a", Scope::Session);
        session.set("b", Scope::Transaction);
        assert_eq!(session.step(Step::Savepoint), "b");
        assert_eq!(session.step(Step::Commit), "a");
        session.step(Step::Begin);
        session.set("b", Scope::Transaction);
        session.set("c", Scope::Session);
        assert_eq!(session.step(Step::Commit), "c");
    }

    #[test]
    fn a_rollback_undoes_both() {
        let mut session = Session::new();
        session.set("a", Scope::Session);
        session.step(Step::Begin);
        session.set("b", Scope::Session);
        session.step(Step::Savepoint);
        session.set("c", Scope::Session);
        session.set("d", Scope::Transaction);
        assert_eq!(session.step(Step::RollbackTo(0)), "b");
        session.set("e", Scope::Transaction);
        assert_eq!(session.step(Step::Release(0)), "e");
        assert_eq!(session.step(Step::Rollback), "a");
    }
}
