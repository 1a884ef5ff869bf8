//! The daemon's link to the control plane: it dials, says hello, answers calls, and comes back.
//!
//! ```text
//! service ── machine (pure: what next)
//!    │ next ──► servers (which one of the deployment)
//!    │ dial ──► address, transport (TLS, pin), fault (what is wrong)
//!    │ renew ─► join (late renewal)
//!    └ session: hello ─► calls ──► Dispatch
//!                        notices ◄─► control plane
//! ```
//!
//! Owns the connection and the certificate's freshness; knows nothing of what calls do. The link
//! is cut and comes back at any time: nothing here may be needed for work to go on.

mod address;
mod call;
mod dial;
mod fault;
mod join;
mod machine;
mod servers;
mod service;
mod session;
mod status;
mod transport;

pub use address::ServerAddress;
pub use fault::Fault;
pub use join::{JoinError, JoinRequest, join};
pub use service::{LinkOptions, LinkService};
pub use status::{FaultView, LinkHandle, LinkState, LinkStatus};
