//! The database without the server: for commands that work beside a running one or without.

use std::sync::Arc;

use shared::clock::{Clock, SystemClock};
use shared::ids::{IdSource, SystemIds};

use super::exit::Failure;
use crate::app::{StartError, database_url, master_key_file, prepare_data_dir};
use crate::options::{self, Options, Sources};
use crate::secrets::SecretBox;
use crate::store::Store;

/// The database and what belongs to it.
pub struct Offline {
    /// The configuration.
    pub options: Options,
    /// Rows.
    pub store: Store,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

impl Offline {
    /// Opens the database of the configuration. The data directory is not locked: the database
    /// itself lets several programs in.
    ///
    /// # Errors
    ///
    /// What is wrong with the configuration or the database.
    pub async fn open(sources: &Sources) -> Result<Self, Failure> {
        let (options, _) = options::load(sources)?;
        prepare_data_dir(&options.data_dir)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let ids: Arc<dyn IdSource> = Arc::new(SystemIds::new());
        let url = database_url(&options);
        let store = Store::open_beside(&url, Arc::clone(&clock), ids).await;
        let store = store.map_err(StartError::from)?;
        Ok(Self { options, store, clock })
    }

    /// Opens what is sealed.
    ///
    /// # Errors
    ///
    /// When the master key cannot be used.
    pub fn secrets(&self) -> Result<SecretBox, Failure> {
        Ok(SecretBox::open_or_create(&master_key_file(&self.options)).map_err(StartError::from)?)
    }

    /// The address that people open.
    #[must_use]
    pub fn url(&self) -> String {
        self.options.http.url(self.options.http.listen)
    }
}
