//! Serialization of reports and steps.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::value::text;
use crate::event::{Report, StepInfo, Unit};

#[derive(Serialize, Deserialize)]
#[serde(rename = "Report")]
struct ReportForm<T> {
    fraction: Option<f64>,
    amount: Option<AmountForm>,
    message: Option<T>,
    step: Option<StepForm>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename = "Amount")]
struct AmountForm {
    done: u64,
    total: Option<u64>,
    unit: Unit,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Unit", rename_all = "snake_case")]
enum UnitForm {
    Items,
    Bytes,
}

#[derive(Serialize, Deserialize)]
#[serde(rename = "ReportStep")]
struct StepForm {
    current: u32,
    total: u32,
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let step = self.steps();
        ReportForm {
            fraction: self.fraction(),
            amount: (self.done().zip(self.unit())).map(|(done, unit)| AmountForm {
                done,
                total: self.total(),
                unit,
            }),
            message: self.text(),
            step: step.map(|(current, total)| StepForm { current, total }),
        }
        .serialize(to)
    }
}

/// Rebuilds the report through its constructors, so that its invariants hold: a clamped fraction,
/// and the fraction of its amount if it has one.
impl<'de> Deserialize<'de> for Report {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let read = ReportForm::<String>::deserialize(from)?;
        let report = match read.amount {
            Some(amount) => Self::amount(amount.done, amount.total, amount.unit),
            None => Self::new(read.fraction.unwrap_or_default()),
        };
        let report = match read.step {
            Some(step) => report.at_step(step.current, step.total),
            None => report,
        };
        Ok(match read.message {
            Some(message) => report.message(message),
            None => report,
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "StepInfo")]
struct StepInfoForm {
    #[serde(with = "text")]
    name: Arc<str>,
    number: u32,
    total: Option<u32>,
}

is_its_form! {
    StepInfo => StepInfoForm,
    Unit => UnitForm,
}
