//! Who writes titles and labels, as a deployment has set it.

use serde::{Deserialize, Serialize};
use shared::ids::ModelId;

/// The name of the setting.
pub const NAMING_SETTING: &str = "naming";

/// Who writes titles and labels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", content = "model_id", rename_all = "snake_case")]
pub enum Naming {
    /// The chat's own model, where it is asked at its provider's own address.
    #[default]
    Auto,
    /// The chat's own model.
    Chat,
    /// This model.
    Model(ModelId),
    /// Nobody: a title is the first words of the chat.
    Off,
}

impl Naming {
    /// As it is stored; what cannot be read is as if nothing was set.
    #[must_use]
    pub fn read(stored: Option<&[u8]>) -> Self {
        stored.and_then(|bytes| serde_json::from_slice(bytes).ok()).unwrap_or_default()
    }

    /// As it is stored.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::ids::IdSource;
    use shared::testing::CountingIds;

    #[test]
    fn a_setting_comes_back_as_it_was_stored_and_nonsense_is_none() {
        let ids: &dyn IdSource = &CountingIds::default();
        for naming in [Naming::Auto, Naming::Chat, Naming::Off, Naming::Model(ids.id())] {
            assert_eq!(Naming::read(Some(&naming.bytes())), naming);
        }
        assert_eq!(Naming::read(None), Naming::Auto);
        assert_eq!(Naming::read(Some(b"{\"by\":\"them\"}")), Naming::Auto);
    }
}
