//! The async methods of DataFusion's provider traits, with the proof that their futures may cross threads made once.
//!
//! `async_trait` gives each method bounds on its lifetimes, and under such bounds the compiler keeps no proof for
//! later: everything the future reaches, which is the whole engine for `self` or an `Expr`, is proven anew for each
//! method, a second or more of type checking apiece. These macros write the signature that the trait asks for and hand
//! over to a method of the type without such bounds, which returns a boxed future: there a proof is kept and found.

/// Writes [`TableProvider::scan`](datafusion::catalog::TableProvider::scan) as a call of a method that takes the same
/// arguments, all of one lifetime, and returns a boxed future.
#[macro_export]
macro_rules! scan_by {
    ($method:ident) => {
        fn scan<'s, 'c, 'p, 'e, 'f>(
            &'s self,
            session: &'c dyn ::datafusion::catalog::Session,
            projection: Option<&'p Vec<usize>>,
            filters: &'e [::datafusion::logical_expr::Expr],
            limit: Option<usize>,
        ) -> ::futures::future::BoxFuture<
            'f,
            ::datafusion::error::Result<
                ::std::sync::Arc<dyn ::datafusion::physical_plan::ExecutionPlan>,
            >,
        >
        where
            's: 'f,
            'c: 'f,
            'p: 'f,
            'e: 'f,
        {
            self.$method(session, projection, filters, limit)
        }
    };
}

/// Writes [`SchemaProvider::table`](datafusion::catalog::SchemaProvider::table) as a call of a method that takes a name
/// and returns a boxed future.
#[macro_export]
macro_rules! table_by {
    ($method:ident) => {
        fn table<'s, 'n, 'f>(
            &'s self,
            name: &'n str,
        ) -> ::futures::future::BoxFuture<
            'f,
            ::datafusion::error::Result<
                Option<::std::sync::Arc<dyn ::datafusion::catalog::TableProvider>>,
            >,
        >
        where
            's: 'f,
            'n: 'f,
        {
            self.$method(name)
        }
    };
}

/// Writes [`SchemaProvider::table_type`](datafusion::catalog::SchemaProvider::table_type) as a call of a method that
/// takes a name and returns a boxed future.
#[macro_export]
macro_rules! table_type_by {
    ($method:ident) => {
        fn table_type<'s, 'n, 'f>(
            &'s self,
            name: &'n str,
        ) -> ::futures::future::BoxFuture<
            'f,
            ::datafusion::error::Result<Option<::datafusion::logical_expr::TableType>>,
        >
        where
            's: 'f,
            'n: 'f,
        {
            self.$method(name)
        }
    };
}
