//! The bookstore's resources as clients see them, and what their input may be. Pure.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use icu_normalizer::ComposingNormalizerBorrowed;
use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::chassis::request::{Fields, NoText};
use crate::chassis::text::is_blank;
use crate::clock::Timestamp;

/// Books on one page.
pub const BOOKS_PAGE: u64 = 20;
/// The last page that can be asked for: what lies before a page is counted off each time.
pub const PAGE_MAX: u64 = 1_000;
/// Books are counted up to so many pages past the one that is shown: to count all, each time somebody looks at a page,
/// costs as much as there are. No more than four rows are counted for each that is shown.
pub const PAGES_AHEAD: u64 = 3;
/// The caller's own books are the newest so many.
pub const MINE_MAX: usize = 1_000;
/// So many of them are read at once: a description may be large, and the answer full long before.
pub const MINE_READ: u64 = 125;
const _: () = assert!((MINE_MAX as u64).is_multiple_of(MINE_READ));
/// More do not deliver.
pub const PROVIDERS_MAX: u64 = 100;
/// Characters of what is searched for.
pub const SEARCH_CHARS_MAX: usize = 100;
/// Characters of a title and of an author; the columns hold as many.
pub const NAME_CHARS_MAX: usize = 255;
/// Bytes of a description; the column holds as many.
pub const DESCRIPTION_BYTES_MAX: usize = 65_535;
/// The dearest book.
pub const PRICE_MAX: Money = Money(99_999_999);
/// The largest stock of one book.
pub const STOCK_MAX: u64 = 1_000_000;
/// The most copies in one purchase.
pub const QUANTITY_MAX: u64 = 1_000;
/// What a purchase can be paid with. Case does not matter, and one space or hyphen is as good as a `_`.
pub const PAYMENT_METHODS: [&str; 7] =
    ["card", "credit_card", "debit_card", "paypal", "transfer", "bank_transfer", "cash"];

/// What DECIMAL(12,2) holds, in cents.
const COLUMN_CENTS_MAX: u64 = 999_999_999_999;
const _: () = assert!(PRICE_MAX.0 * QUANTITY_MAX <= COLUMN_CENTS_MAX);

/// An amount of money: a whole number of cents, so that sums are exact. The currency is the shop's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Money(u64);

impl Money {
    /// Reads digits with at most two decimals, such as `19.9`; nothing else: no sign, no exponent, no third
    /// decimal that would have to be rounded away.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "00"));
        let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !are_digits(whole) || !are_digits(decimals) || decimals.len() > 2 {
            return None;
        }
        let cents: u64 = decimals.parse().ok()?;
        let cents = if decimals.len() == 1 { cents * 10 } else { cents };
        whole.parse::<u64>().ok()?.checked_mul(100)?.checked_add(cents).map(Self)
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A book that is offered.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)] // The fields are those of the contract.
pub struct Book {
    pub id: u64,
    pub title: String,
    pub author: String,
    pub description: String,
    pub price: Money,
    pub stock: u64,
    pub seller_id: u64,
}

/// A purchase, as its buyer sees it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)] // The fields are those of the contract.
pub struct Purchase {
    pub id: u64,
    pub book_id: u64,
    pub quantity: u64,
    pub total_price: Money,
    pub status: String,
    pub created_at: Timestamp,
}

/// Someone who delivers.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)] // The fields are those of the contract.
pub struct Provider {
    pub id: u64,
    pub name: String,
    pub coverage_area: String,
    pub cost: Money,
}

/// Texts of a validation's errors.
pub type Mistakes = Vec<Cow<'static, str>>;

/// A page of the books, or of those that match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    page: u64,
    /// What titles and authors are compared with; none for all books.
    pub pattern: Option<String>,
}

impl Search {
    /// Reads `page` and `q` of a query.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn of(page: Option<&str>, text: Option<&str>) -> Result<Self, &'static str> {
        let page = match page.filter(|page| !page.is_empty()) {
            None => 1,
            Some(page) => crate::chassis::route::id(page).map_err(|_| INVALID_PAGE)?,
        };
        if !(1..=PAGE_MAX).contains(&page) {
            return Err(INVALID_PAGE);
        }
        let text = text.map(str::trim).filter(|text| !text.is_empty()).map(composed);
        if text.as_ref().is_some_and(|text| text.chars().count() > SEARCH_CHARS_MAX) {
            return Err("q is too long (maximum is 100 characters)");
        }
        Ok(Self { page, pattern: text.as_deref().map(pattern) })
    }

    /// The most books to show.
    #[must_use]
    pub fn limit(&self) -> u64 {
        BOOKS_PAGE
    }

    /// Where counting ends.
    #[must_use]
    pub fn total_max(&self) -> u64 {
        self.offset() + (1 + PAGES_AHEAD) * BOOKS_PAGE
    }

    /// The books on the pages before.
    #[must_use]
    pub fn offset(&self) -> u64 {
        (self.page - 1) * BOOKS_PAGE
    }
}

const INVALID_PAGE: &str = "page must be a number from 1 to 1000";

/// A text with its accents composed (NFC), as titles and authors are kept and looked for: LIKE compares character by
/// character, and to it an `e` and the accent after it are two.
fn composed(text: &str) -> Cow<'_, str> {
    ComposingNormalizerBorrowed::new_nfc().normalize(text)
}

/// `text` anywhere, for LIKE with `!` as its escape: what LIKE reads as a wildcard is meant as it stands.
fn pattern(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for letter in text.chars() {
        if matches!(letter, '!' | '%' | '_') {
            pattern.push('!');
        }
        pattern.push(letter);
    }
    pattern.push('%');
    pattern
}

/// What a seller changes of a book; what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // The fields are those of the contract.
pub struct Change {
    pub title: Option<String>,
    pub author: Option<String>,
    pub description: Option<String>,
    pub price: Option<Money>,
    pub stock: Option<u64>,
}

/// A book to be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The fields are those of the contract.
pub struct NewBook {
    pub title: String,
    pub author: String,
    pub description: String,
    pub price: Money,
    pub stock: u64,
}

impl Change {
    /// Reads what is there. `body` is what `fields` were read from: a price is taken from its own text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of(fields: &Fields, body: &[u8]) -> Result<Self, Mistakes> {
        let mut mistakes = Mistakes::new();
        let mut keep = |mistake: &'static str| mistakes.push(Cow::Borrowed(mistake));
        let title = name(fields, "title", TITLE_BLANK, "Title is too long (maximum is 255 characters)");
        let title = title.unwrap_or_else(|mistake| {
            keep(mistake);
            None
        });
        let author = name(fields, "author", AUTHOR_BLANK, "Author is too long (maximum is 255 characters)");
        let author = author.unwrap_or_else(|mistake| {
            keep(mistake);
            None
        });
        let description = description(fields).unwrap_or_else(|mistake| {
            keep(mistake);
            None
        });
        let price = price(fields, body).unwrap_or_else(|mistake| {
            keep(mistake);
            None
        });
        let stock = whole(fields, "stock", 0..=STOCK_MAX);
        let stock = stock.unwrap_or_else(|()| {
            keep("Stock must be an integer from 0 to 1000000");
            None
        });
        if mistakes.is_empty() {
            Ok(Self { title, author, description, price, stock })
        } else {
            Err(mistakes)
        }
    }
}

impl NewBook {
    /// Reads a whole book; only the description may be left out.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of(fields: &Fields, body: &[u8]) -> Result<Self, Mistakes> {
        let (change, mut mistakes) = match Change::of(fields, body) {
            Ok(change) => (change, Mistakes::new()),
            Err(mistakes) => (Change::default(), mistakes),
        };
        for (name, mistake) in [
            ("title", TITLE_BLANK),
            ("author", AUTHOR_BLANK),
            ("price", "Price can't be blank"),
            ("stock", "Stock can't be blank"),
        ] {
            if fields.value(name).is_none() {
                mistakes.push(mistake.into());
            }
        }
        let Change {
            title: Some(title),
            author: Some(author),
            description,
            price: Some(price),
            stock: Some(stock),
        } = change
        else {
            return Err(mistakes);
        };
        Ok(Self { title, author, description: description.unwrap_or_default(), price, stock })
    }
}

const TITLE_BLANK: &str = "Title can't be blank";
const AUTHOR_BLANK: &str = "Author can't be blank";

/// A title or an author, where there is one. What is no text is blank.
fn name(
    fields: &Fields,
    field: &str,
    blank: &'static str,
    too_long: &'static str,
) -> Result<Option<String>, &'static str> {
    let name = fields.text(field).map_err(|NoText| blank)?.map(|name| composed(&name).into_owned());
    match name.as_deref() {
        Some(name) if is_blank(name) => Err(blank),
        Some(name) if name.chars().count() > NAME_CHARS_MAX => Err(too_long),
        _ => Ok(name),
    }
}

fn description(fields: &Fields) -> Result<Option<String>, &'static str> {
    let text = fields.text("description").map_err(|NoText| "Description must be a string")?;
    match &text {
        Some(text) if text.len() > DESCRIPTION_BYTES_MAX => {
            Err("Description is too long (maximum is 65535 bytes)")
        }
        _ => Ok(text),
    }
}

/// The price, exactly as it was written. A number's own text is looked up in the body, because by then the
/// JSON reader has made a binary fraction of it.
fn price(fields: &Fields, body: &[u8]) -> Result<Option<Money>, &'static str> {
    const NO_MONEY: &str = "Price must be a number with at most 2 decimals, from 0 to 999999.99";
    let money = match fields.value("price") {
        None => return Ok(None),
        Some(Value::String(text)) => Money::parse(text),
        Some(Value::Number(_)) => number_text(body, "price").and_then(Money::parse),
        Some(_) => None,
    };
    money.filter(|money| *money <= PRICE_MAX).map(Some).ok_or(NO_MONEY)
}

/// The text of a number in a JSON object, or in the object `book` inside it, which goes first as it does in
/// [`Fields`].
fn number_text<'a>(body: &'a [u8], name: &str) -> Option<&'a str> {
    type Object<'a> = HashMap<Cow<'a, str>, &'a RawValue>;
    let around: Object<'a> = serde_json::from_slice(body).ok()?;
    let inside = around.get("book").and_then(|book| serde_json::from_str::<Object<'a>>(book.get()).ok());
    let found = |object: &Object<'a>| object.get(name).map(|text| text.get()).filter(|text| *text != "null");
    inside.as_ref().and_then(found).or_else(|| found(&around))
}

/// A whole number, or its digits, within a range.
fn whole(fields: &Fields, name: &str, range: std::ops::RangeInclusive<u64>) -> Result<Option<u64>, ()> {
    match fields.value(name) {
        None => Ok(None),
        Some(_) => fields.whole(name).filter(|number| range.contains(number)).map(Some).ok_or(()),
    }
}

/// How many copies to buy.
///
/// # Errors
/// What is wrong with it.
pub fn quantity(fields: &Fields) -> Result<u64, &'static str> {
    let quantity = whole(fields, "quantity", 1..=QUANTITY_MAX);
    quantity.map_err(|()| "Quantity must be an integer from 1 to 1000")?.ok_or("Quantity can't be blank")
}

/// What a purchase is paid with, as it is stored.
///
/// # Errors
/// What is wrong with it.
pub fn payment_method(fields: &Fields) -> Result<&'static str, &'static str> {
    let method = fields.text("method").ok().flatten().filter(|method| !is_blank(method));
    let method = method.ok_or("Method can't be blank")?;
    let plain: String = method.trim().to_lowercase().replace([' ', '-'], "_");
    let known = PAYMENT_METHODS.into_iter().find(|known| *known == plain);
    known.ok_or("Method is not included in the list")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_exact() {
        for (text, shown) in
            [("19.9", "19.90"), ("0.1", "0.10"), ("7", "7.00"), ("0.05", "0.05"), ("007.50", "7.50")]
        {
            assert_eq!(Money::parse(text).unwrap().to_string(), shown);
        }
        for wrong in
            ["", ".", ".5", "5.", "1.999", "1.000", "-1", "+1", "1e3", "1,5", " 1", "1.5 ", "٣", "1_0", "NaN"]
        {
            assert_eq!(Money::parse(wrong), None, "{wrong}");
        }
        assert_eq!(Money::parse("184467440737095517"), None, "more than fits");
        assert_eq!(PRICE_MAX.to_string(), "999999.99");
    }

    #[test]
    fn a_number_is_found_as_it_was_written() {
        for (body, text) in [
            (r#"{"price":19.90}"#, Some("19.90")),
            (r#"{"a":{"price":1},"price":0.1000000000000000055}"#, Some("0.1000000000000000055")),
            (r#"{"book":{"price":2.5},"price":1}"#, Some("2.5")),
            (r#"{"book":{"price":null},"price":1}"#, Some("1")),
            (r#"{"book":7,"price":1}"#, Some("1")),
            (r#"{"\u0070rice":3}"#, Some("3")),
            (r#"{"x":1}"#, None),
        ] {
            assert_eq!(number_text(body.as_bytes(), "price"), text, "{body}");
        }
    }

    #[test]
    fn a_search_means_what_it_says() {
        let search = Search::of(Some("3"), Some(" 50%_off! ")).unwrap();
        assert_eq!((search.limit(), search.offset()), (20, 40));
        assert_eq!(search.pattern.as_deref(), Some("%50!%!_off!!%"));
        assert_eq!(Search::of(None, Some("cafe\u{301}")), Search::of(None, Some("café")));
        assert_eq!(Search::of(Some(""), Some(" ")), Search::of(None, None));
        for page in ["0", "-1", "x", "1001", "1.0"] {
            assert_eq!(Search::of(Some(page), None), Err(INVALID_PAGE), "{page}");
        }
        assert!(Search::of(None, Some(&"x".repeat(101))).is_err());
    }

    fn changed(body: &serde_json::Value) -> Result<Change, Mistakes> {
        let body = body.to_string();
        Change::of(&Fields::of_json(&body, "book"), body.as_bytes())
    }

    #[test]
    fn a_limit_is_the_longest_or_the_largest_that_is_taken() {
        use serde_json::json;
        let (name, text) = ("ä".repeat(NAME_CHARS_MAX), "x".repeat(DESCRIPTION_BYTES_MAX));
        let whole = json!({"title": name, "author": name, "description": text, "price": 999_999.99, "stock": 1_000_000});
        let change = Change {
            title: Some(name.clone()),
            author: Some(name.clone()),
            description: Some(text.clone()),
            price: Some(PRICE_MAX),
            stock: Some(1_000_000),
        };
        assert_eq!(changed(&whole), Ok(change));
        assert_eq!(changed(&json!({})), Ok(Change::default()));
        let decomposed = changed(&json!({"title": "a\u{308}".repeat(NAME_CHARS_MAX)}));
        assert_eq!(decomposed.unwrap().title, Some(name.clone()), "as long as it is stored");
        assert_eq!(changed(&json!({"stock": 0, "price": 0})).unwrap().stock, Some(0));
        const PRICE: &str = "Price must be a number with at most 2 decimals, from 0 to 999999.99";
        const STOCK: &str = "Stock must be an integer from 0 to 1000000";
        for (body, mistake) in [
            (json!({"title": format!("{name}x")}), "Title is too long (maximum is 255 characters)"),
            (json!({"author": format!("{name}x")}), "Author is too long (maximum is 255 characters)"),
            (json!({"title": " "}), TITLE_BLANK),
            (json!({"author": []}), AUTHOR_BLANK),
            (json!({"description": format!("{text}x")}), "Description is too long (maximum is 65535 bytes)"),
            (json!({"description": true}), "Description must be a string"),
            (json!({"price": "1000000"}), PRICE),
            (json!({"price": []}), PRICE),
            (json!({"stock": 1_000_001}), STOCK),
            (json!({"stock": "x"}), STOCK),
        ] {
            assert_eq!(changed(&body), Err(vec![mistake.into()]), "{mistake}");
        }
    }

    #[test]
    fn a_quantity_and_a_method_are_of_those_that_there_are() {
        use serde_json::json;
        let fields = |body: serde_json::Value| Fields::of_json(&body.to_string(), "purchase");
        let bought = |number: serde_json::Value| quantity(&fields(json!({ "quantity": number })));
        assert_eq!((bought(json!(1)), bought(json!("1000"))), (Ok(1), Ok(1_000)));
        for wrong in [json!(0), json!(1_001), json!("x"), json!(1.5)] {
            assert_eq!(bought(wrong), Err("Quantity must be an integer from 1 to 1000"));
        }
        assert_eq!(bought(json!(null)), Err("Quantity can't be blank"));

        let paid = |method: serde_json::Value| payment_method(&fields(json!({ "method": method })));
        for known in PAYMENT_METHODS {
            let shouted = known.to_uppercase().replace('_', "-");
            assert_eq!((paid(json!(known)), paid(json!(format!(" {shouted} ")))), (Ok(known), Ok(known)));
        }
        assert_eq!(paid(json!("beads")), Err("Method is not included in the list"));
        for blank in [json!(null), json!(" "), json!([])] {
            assert_eq!(paid(blank), Err("Method can't be blank"));
        }
    }

    #[test]
    fn books_are_counted_some_pages_ahead() {
        let search = |page| Search::of(Some(page), None).unwrap();
        assert_eq!(search("1").total_max(), (1 + PAGES_AHEAD) * BOOKS_PAGE);
        assert_eq!(search("1000").total_max(), (1_000 + PAGES_AHEAD) * BOOKS_PAGE);
        let longest = "ä".repeat(SEARCH_CHARS_MAX);
        assert_eq!(Search::of(None, Some(&longest)).unwrap().pattern, Some(format!("%{longest}%")));
    }
}
