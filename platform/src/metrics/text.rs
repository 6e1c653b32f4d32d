//! The two forms in which Prometheus reads figures.

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

/// A form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus's own, version 0.0.4, which every tool reads.
    Prometheus,
}

impl Form {
    /// The form for a client that says what it takes.
    pub fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    /// Its name in HTTP.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// Writes figures in this form.
    ///
    /// # Errors
    /// When a figure cannot be written.
    pub fn write(self, figures: &Registry) -> Result<String, std::fmt::Error> {
        let mut open = String::new();
        encode(&mut open, figures)?;
        Ok(match self {
            Self::OpenMetrics => open,
            Self::Prometheus => with_names_of_samples(&open),
        })
    }
}

/// In OpenMetrics a family of counters is named without the `_total` of its samples; in Prometheus's
/// own form it has their name.
fn with_names_of_samples(open: &str) -> String {
    let mut text = String::with_capacity(open.len());
    let mut help = None;
    for line in open.lines().filter(|line| *line != "# EOF") {
        if let Some(described) = line.strip_prefix("# HELP ") {
            help = described.split_once(' ');
            continue;
        }
        match line.strip_prefix("# TYPE ").and_then(|family| family.rsplit_once(' ')) {
            None => text.extend([line, "\n"]),
            Some((name, kind)) => {
                let end = if kind == "counter" { "_total" } else { "" };
                if let Some((_, about)) = help.take().filter(|(described, _)| *described == name) {
                    text.extend(["# HELP ", name, end, " ", about, "\n"]);
                }
                text.extend(["# TYPE ", name, end, " ", kind, "\n"]);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::figures::{Counters, Gauges};

    fn figures() -> Registry {
        let mut registry = Registry::default();
        let files = Counters::default();
        files.of(&[("module", "mail")]).inc_by(3);
        registry.register("x_files", "Files", files);
        let mut free = Gauges::default();
        free.set(&[("module", "a\"b\\c\nd")], 1.5);
        registry.register("x_free_bytes", "Free", free);
        registry
    }

    #[test]
    fn both_forms_have_the_same_samples() {
        let open = Form::OpenMetrics.write(&figures()).expect("written");
        assert!(open.contains("# TYPE x_files counter\n") && open.ends_with("# EOF\n"), "{open}");
        let own = Form::Prometheus.write(&figures()).expect("written");
        assert_eq!(
            own,
            "# HELP x_files_total Files.\n# TYPE x_files_total counter\n\
             x_files_total{module=\"mail\"} 3\n\
             # HELP x_free_bytes Free.\n# TYPE x_free_bytes gauge\n\
             x_free_bytes{module=\"a\\\"b\\\\c\\nd\"} 1.5\n"
        );
    }

    #[test]
    fn the_form_is_what_the_client_takes() {
        let prometheus =
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
        assert_eq!(Form::accepted(prometheus), Form::OpenMetrics);
        assert_eq!(Form::accepted("*/*"), Form::Prometheus);
    }
}
