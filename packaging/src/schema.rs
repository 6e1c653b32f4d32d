//! The JSON schema of `bascule.toml`, for editors.

/// Where it is in the repository, from its root.
pub const PUBLISHED: &str = "contrib/bascule.schema.json";

/// The schema that the agent goes by.
pub fn text() -> String {
    format!("{:#}\n", bascule_agent::jobs::config::schema())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::root;

    #[test]
    fn the_published_schema_is_that_of_the_code() {
        let published = std::fs::read_to_string(root().join(PUBLISHED)).unwrap_or_default();
        assert!(
            published.replace("\r\n", "\n") == text(),
            "{PUBLISHED} is out of date: cargo run -p bascule-packaging -- schema {PUBLISHED}"
        );
    }
}
