//! The queries that were entered, for the up and down keys.

/// How many are remembered.
const MOST: usize = 100;

/// Entered queries, and which of them is recalled.
#[derive(Debug, Default)]
pub(crate) struct History {
    texts: Vec<String>,
    /// The one that is recalled; as many as there are if none is.
    at: usize,
}

impl History {
    /// Remembers a query as the latest.
    pub(crate) fn add(&mut self, text: &str) {
        if !text.trim().is_empty() {
            self.texts.retain(|other| other != text);
            self.texts.push(text.to_owned());
            if self.texts.len() > MOST {
                self.texts.remove(0);
            }
        }
        self.at = self.texts.len();
    }

    /// The one before the one that is recalled.
    pub(crate) fn older(&mut self) -> Option<&str> {
        self.at = self.at.checked_sub(1)?;
        self.texts.get(self.at).map(String::as_str)
    }

    /// The one after the one that is recalled; after the latest there is an empty one.
    pub(crate) fn newer(&mut self) -> Option<&str> {
        if self.at >= self.texts.len() {
            return None;
        }
        self.at += 1;
        Some(self.texts.get(self.at).map_or("", String::as_str))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let mut history = History::default();
        assert_eq!(history.older(), None);
        assert_eq!(history.newer(), None);
        for text in ["a", "b", " ", "c", "a"] {
            history.add(text);
        }
        assert_eq!(history.older(), Some("a"));
        assert_eq!(history.older(), Some("c"));
        assert_eq!(history.older(), Some("b"));
        assert_eq!(history.older(), None);
        assert_eq!(history.newer(), Some("c"));
        assert_eq!(history.newer(), Some("a"));
        assert_eq!(history.newer(), Some(""));
        assert_eq!(history.newer(), None);
        assert_eq!(history.older(), Some("a"));
    }

    #[test]
    fn the_oldest_is_forgotten() {
        let mut history = History::default();
        (0..=MOST).for_each(|number| history.add(&number.to_string()));
        assert_eq!(history.texts.len(), MOST);
        assert_eq!(history.texts[0], "1");
    }
}
