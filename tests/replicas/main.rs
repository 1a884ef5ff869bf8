//! Two and more servers on one Postgres, as real processes: everything works at each of them, and
//! goes on when one of them is gone.

mod everywhere;
mod takeover;
mod viewers;
