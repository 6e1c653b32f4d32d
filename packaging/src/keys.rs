//! The manual page of `bascule.toml`, from its schema and the example.

use anyhow::Context as _;
use roff::{Inline, Roff, bold, italic, roman};
use serde_json::{Map, Value};

use crate::documents::{self, EXAMPLE_JOBS};
use crate::man::Page;
use crate::{VERSION, schema};

/// The page bascule.toml(5).
///
/// # Errors
/// When the schema or the example is not as it should be.
pub fn page(date: &str) -> anyhow::Result<Page> {
    let schema: Value = serde_json::from_str(&schema::text())?;
    let nothing = Map::new();
    let kinds = schema.get("$defs").and_then(Value::as_object).unwrap_or(&nothing);
    let mut roff = Roff::new();
    let source = format!("Bascule {VERSION}");
    roff.control("TH", ["bascule.toml", "5", date, &source, "Files"]);
    roff.control("SH", ["NAME"]);
    roff.text([roman("bascule.toml - the jobs of bascule")]);
    roff.control("SH", ["DESCRIPTION"]);
    roff.text([roman(described(&schema).context("the schema's own description")?)]);
    roff.control("SH", ["KEYS"]);
    keys(&mut roff, "", &schema, kinds);
    roff.control("SH", ["FILES"]);
    roff.control("TP", []);
    roff.text([bold("/etc/bascule.toml")]);
    roff.text([roman("unless --config or BASCULE_CONFIG names another file")]);
    roff.control("SH", ["EXAMPLE"]);
    roff.control("nf", []);
    for line in documents::text(EXAMPLE_JOBS)?.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
    roff.control("SH", ["SEE ALSO"]);
    for (name, section) in [("bascule", "(1),"), ("bascule-init", "(1),"), ("bascule-check", "(1)")]
    {
        roff.text([bold(name), roman(section)]);
    }
    let mut text = Vec::new();
    roff.to_writer(&mut text)?;
    Ok(Page { name: "bascule.toml".to_owned(), section: 5, text })
}

/// An entry for each key of a table, and for those of the tables in it.
fn keys(roff: &mut Roff, above: &str, table: &Value, kinds: &Map<String, Value>) {
    keys_of_one(roff, above, table, None, kinds);
    // "One of these tables", each with one key, which the table's description is about.
    for table in table.get("oneOf").and_then(Value::as_array).into_iter().flatten() {
        keys_of_one(roff, above, table, described(table), kinds);
    }
}

fn keys_of_one(
    roff: &mut Roff,
    above: &str,
    table: &Value,
    told: Option<String>,
    kinds: &Map<String, Value>,
) {
    let required = table.get("required").and_then(Value::as_array);
    let keys_of_table = table.get("properties").and_then(Value::as_object);
    for (key, value) in keys_of_table.into_iter().flatten() {
        let must = told.is_none() && required.is_some_and(|all| all.iter().any(|one| one == key));
        let name = format!("{above}{key}");
        let kind = resolved(value, kinds);
        entry(roff, &name, value, kind, told.clone().or_else(|| described(value)), must);
        keys(roff, &format!("{name}."), kind, kinds);
        if let Some(each) = kind.get("additionalProperties").filter(|each| each.is_object()) {
            keys(roff, &format!("{name}.NAME."), resolved(each, kinds), kinds);
        }
    }
}

fn entry(roff: &mut Roff, name: &str, key: &Value, kind: &Value, told: Option<String>, must: bool) {
    let mut head = vec![bold(name), roman(" ")];
    head.extend(form(kind).map(italic));
    let default = key.get("default").filter(|default| !default.is_null());
    let note: Option<Inline> = match default {
        _ if must => Some(roman(", has to be there")),
        Some(default) => Some(roman(format!(", {default} if it is left out"))),
        None => None,
    };
    head.extend(note);
    roff.control("TP", []);
    roff.text(head);
    roff.text([roman(told.unwrap_or_default())]);
}

/// The table or value behind a reference, or behind "this or nothing".
fn resolved<'a>(key: &'a Value, kinds: &'a Map<String, Value>) -> &'a Value {
    let some = key.get("anyOf").and_then(Value::as_array).and_then(|any| any.first());
    let key = some.unwrap_or(key);
    let name = key.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next());
    name.and_then(|name| kinds.get(name)).unwrap_or(key)
}

/// What kind of value it is, in TOML's words.
fn form(kind: &Value) -> Option<&'static str> {
    let kind = kind.get("type")?;
    Some(match kind.as_str().or_else(|| kind.get(0)?.as_str())? {
        "string" => "string",
        "integer" => "integer",
        "boolean" => "boolean",
        "array" => "array",
        _ => "table",
    })
}

fn described(of: &Value) -> Option<String> {
    Some(of.get("description")?.as_str()?.replace('\n', " "))
}
