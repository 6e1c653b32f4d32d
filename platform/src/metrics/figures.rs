//! Figures with labels.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::encoding::{
    EncodeLabel as _, EncodeLabelSet, EncodeMetric, LabelSetEncoder, MetricEncoder,
};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::{MetricType, TypedMetric};

/// Names and values of labels, in order. Values have to come from the configuration or from a fixed
/// list: each new one is a series of its own for as long as the program runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Labels(Vec<(&'static str, String)>);

impl Labels {
    fn of(labels: &[(&'static str, &str)]) -> Self {
        Self(labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect())
    }
}

impl EncodeLabelSet for Labels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), fmt::Error> {
        for (name, value) in &self.0 {
            (*name, value.as_str()).encode(encoder.encode_label())?;
        }
        Ok(())
    }
}

/// Counters that live as long as the program. Clones are the same counters.
#[derive(Debug, Clone, Default)]
pub struct Counters(Family<Labels, Counter>);

impl Counters {
    /// The counter with these labels: from zero on if it is new.
    pub fn of(&self, labels: &[(&'static str, &str)]) -> Counter {
        self.0.get_or_create_owned(&Labels::of(labels))
    }
}

impl TypedMetric for Counters {
    const TYPE: MetricType = MetricType::Counter;
}

impl EncodeMetric for Counters {
    fn encode(&self, encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        self.0.encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Values of one moment.
#[derive(Debug, Clone, Default)]
pub struct Gauges(BTreeMap<Labels, f64>);

impl Gauges {
    /// One value without labels.
    pub fn one(value: f64) -> Self {
        let mut gauges = Self::default();
        gauges.set(&[], value);
        gauges
    }

    /// Sets the value with these labels.
    pub fn set(&mut self, labels: &[(&'static str, &str)], value: f64) {
        self.0.insert(Labels::of(labels), value);
    }
}

impl EncodeMetric for Gauges {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        for (labels, value) in &self.0 {
            if labels.0.is_empty() {
                encoder.encode_gauge(value)?;
            } else {
                encoder.encode_family(labels)?.encode_gauge(value)?;
            }
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A moment as Prometheus wants it: seconds since 1970.
pub fn unix_seconds(at: std::time::SystemTime) -> f64 {
    match at.duration_since(std::time::UNIX_EPOCH) {
        Ok(since) => since.as_secs_f64(),
        Err(before) => -before.duration().as_secs_f64(),
    }
}
