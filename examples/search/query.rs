//! What is asked for.

use std::sync::Arc;

use crate::matching::lowercase;

/// One query: a line matches if it has all its words, in whatever case and order.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    /// As it was typed, without the space around it.
    pub(crate) text: Arc<str>,
    /// What makes queries equal: the words in lower case, sorted, each once.
    pub(crate) words: Arc<[String]>,
}

impl Query {
    /// `None` if there is no word in it.
    pub(crate) fn new(text: &str) -> Option<Self> {
        let mut words: Vec<String> = text.split_whitespace().map(lowercase).collect();
        words.sort_unstable();
        words.dedup();
        (!words.is_empty()).then(|| Self {
            text: text.trim().into(),
            words: words.into(),
        })
    }
}

/// A query that is asked, the request of the stack.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    /// Counted from 1: equal queries can be asked again and again.
    pub(crate) number: u64,
    pub(crate) query: Query,
}

impl Ask {
    /// The name of its job, which no other has.
    pub(crate) fn job(&self) -> String {
        format!("{} {:?}", self.number, self.query.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_are_queries_with_the_same_words() {
        let words = |text| Query::new(text).unwrap().words;
        assert_eq!(words("Tokio  spawn "), words(" SPAWN tokio tokio"));
        assert_ne!(words("tokio"), words("tokio spawn"));
    }

    #[test]
    fn without_a_word_there_is_no_query() {
        assert!(Query::new(" \t ").is_none());
        assert_eq!(&*Query::new("  a b ").unwrap().text, "a b");
    }
}
