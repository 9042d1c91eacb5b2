//! Updates that stay prepared.
//!
//! diesel prepares every update anew, because in general its columns may differ from one time to the next; parsing it
//! then costs several times what running it does. Ours are the same text each time they pass a place in the source, so
//! that place is what their statement is kept under. Debug builds, which all tests are, check that the text is the same.
//!
//! A query is known as one of these types only while it is passed by value, which loading does and `execute` does not:
//! so an update without `RETURNING` is run as a query without rows.

use std::marker::PhantomData;

use diesel::QueryResult;
use diesel::backend::Backend;
use diesel::connection::Connection;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::query_dsl::RunQueryDsl;
use diesel::sql_types::BigInt;

/// An update that returns rows, kept under `Site`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Returning<Q, Site>(Q, PhantomData<Site>);

/// An update that returns nothing, kept under `Site`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Silent<Q, Site>(Q, PhantomData<Site>);

/// What a statement is kept under.
pub(crate) trait CallSite: 'static {
    /// Whether the text is the same each time. Else it is kept under its text.
    const ONE_TEXT: bool;
}

/// For updates whose columns depend on what is known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SomeTexts;

impl CallSite for SomeTexts {
    const ONE_TEXT: bool = false;
}

macro_rules! kept {
    ($kept:ident) => {
        impl<Q, Site: CallSite> $kept<Q, Site> {
            pub(crate) fn new<C>(_: &C, update: Q) -> Self
            where
                C: Connection,
                C::Backend: Default,
                <C::Backend as Backend>::QueryBuilder: Default,
                Q: QueryFragment<C::Backend>,
            {
                #[cfg(debug_assertions)]
                check::same_text::<C::Backend, Q, Site>(&update);
                Self(update, PhantomData)
            }
        }

        impl<Q, Site, DB> QueryFragment<DB> for $kept<Q, Site>
        where
            DB: Backend,
            Q: QueryFragment<DB>,
        {
            fn walk_ast<'b>(&'b self, pass: AstPass<'_, 'b, DB>) -> QueryResult<()> {
                self.0.walk_ast(pass)
            }

            fn is_safe_to_cache_prepared(&self, _: &DB) -> QueryResult<bool> {
                Ok(true)
            }
        }

        impl<Q, Site: CallSite> QueryId for $kept<Q, Site> {
            type QueryId = Site;

            const HAS_STATIC_QUERY_ID: bool = Site::ONE_TEXT;
        }
    };
}

kept!(Returning);
kept!(Silent);

impl<Q: Query, Site> Query for Returning<Q, Site> {
    type SqlType = Q::SqlType;
}

impl<Q, Site, Conn> RunQueryDsl<Conn> for Returning<Q, Site> {}

impl<Q, Site> Query for Silent<Q, Site> {
    /// Of the rows that there are none of.
    type SqlType = BigInt;
}

/// Runs an update that returns nothing. With `some texts`, its columns may depend on what is known.
macro_rules! update {
    ($conn:expr, some texts, $update:expr $(,)?) => {
        update!($conn, $crate::diesel_store::prepared::SomeTexts => $update)
    };
    ($conn:expr, $update:expr $(,)?) => {{
        struct Here;
        impl $crate::diesel_store::prepared::CallSite for Here {
            const ONE_TEXT: bool = true;
        }
        update!($conn, Here => $update)
    }};
    ($conn:expr, $site:ty => $update:expr) => {{
        use $crate::diesel_store::prepared::Silent;
        let update = Silent::<_, $site>::new(&*$conn, $update);
        diesel::connection::LoadConnection::load($conn, update)
            .and_then(|rows| rows.into_iter().try_for_each(|row| row.map(drop)))
    }};
}

/// Runs an update that returns one row.
macro_rules! update_returning {
    ($conn:expr, $update:expr $(,)?) => {{
        struct Here;
        impl $crate::diesel_store::prepared::CallSite for Here {
            const ONE_TEXT: bool = true;
        }
        use $crate::diesel_store::prepared::Returning;
        let update = Returning::<_, Here>::new(&*$conn, $update);
        diesel::RunQueryDsl::get_result(update, $conn)
    }};
}

pub(crate) use {update, update_returning};

#[cfg(debug_assertions)]
mod check {
    use std::any::TypeId;
    use std::cell::RefCell;
    use std::collections::HashMap;

    use diesel::backend::Backend;
    use diesel::query_builder::QueryFragment;

    use super::CallSite;

    /// The first text of a place, and how often it was passed.
    type Seen = HashMap<TypeId, (String, u64)>;

    thread_local! {
        static SEEN: RefCell<Seen> = RefCell::default();
    }

    /// Past these, one in so many: writing a text with all that is bound to it takes longer than the update.
    const FIRST: u64 = 64;

    pub(super) fn same_text<DB, Q, Site>(update: &Q)
    where
        DB: Backend + Default,
        DB::QueryBuilder: Default,
        Q: QueryFragment<DB>,
        Site: CallSite,
    {
        if !Site::ONE_TEXT {
            return;
        }
        SEEN.with_borrow_mut(|seen| {
            let (first, passed) = seen.entry(TypeId::of::<Site>()).or_default();
            *passed += 1;
            if *passed > FIRST && !passed.is_multiple_of(FIRST) {
                return;
            }
            let shown = diesel::debug_query::<DB, _>(update).to_string();
            let text = shown.split(" -- binds").next().unwrap_or_default();
            if first.is_empty() {
                text.clone_into(first);
            }
            assert!(
                first == text,
                "two texts from one place: {first} and {text}"
            );
        });
    }
}
