//! A browser without scripts: it keeps one cookie jar, follows nothing by itself, and sends forms as pages have them.

use std::collections::BTreeMap;

use http::{HeaderMap, header};
use reqwest::Response;
use scraper::{Html, Selector};

/// A browser at one origin.
pub struct Browser {
    client: reqwest::Client,
    origin: String,
    /// Its cookies, by name.
    pub cookies: BTreeMap<String, String>,
}

/// What a request was answered with.
#[derive(Debug)]
pub struct Page {
    pub status: u16,
    pub location: Option<String>,
    pub headers: HeaderMap,
    pub text: String,
}

impl Browser {
    /// Opens one.
    pub fn new(origin: &str) -> Self {
        let tls = grapnel_runtime::https::client_config(None).unwrap();
        let client = reqwest::Client::builder().tls_backend_preconfigured(tls);
        let client = client.redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { client, origin: origin.to_owned(), cookies: BTreeMap::new() }
    }

    /// Asks for a page.
    pub async fn get(&mut self, path: &str) -> Page {
        let answer = self.stream(path).await;
        self.taken(answer).await
    }

    /// Asks for what does not end.
    pub async fn stream(&self, path: &str) -> Response {
        let request =
            self.client.get(format!("{}{path}", self.origin)).header("accept", "text/html,*/*;q=0.8");
        request.header("cookie", self.cookie()).send().await.unwrap()
    }

    /// Sends a form of a page of this origin.
    pub async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        let origin = self.origin.clone();
        self.post_as(path, fields, &[("origin", &origin), ("sec-fetch-site", "same-origin")]).await
    }

    /// Sends a form with other headers.
    pub async fn post_as(&mut self, path: &str, fields: &[(&str, &str)], headers: &[(&str, &str)]) -> Page {
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(fields);
        let mut request = self.client.post(format!("{}{path}", self.origin)).body(body.finish());
        request = request.header("cookie", self.cookie());
        if !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/x-www-form-urlencoded");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        self.taken(answer).await
    }

    /// Opens a page and sends its form that leads to `action`, with what the form has by itself and these fields.
    pub async fn submit(&mut self, page: &str, action: &str, fields: &[(&str, &str)]) -> Page {
        let shown = self.get(page).await;
        self.submit_on(&shown, action, fields).await
    }

    /// Sends a form of a page that is open.
    pub async fn submit_on(&mut self, page: &Page, action: &str, fields: &[(&str, &str)]) -> Page {
        let mut sent = page.form(action);
        for (name, value) in fields {
            sent.insert((*name).to_owned(), (*value).to_owned());
        }
        let sent: Vec<_> = sent.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        self.post(action, &sent).await
    }

    fn cookie(&self) -> String {
        self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    async fn taken(&mut self, answer: Response) -> Page {
        let headers = answer.headers().clone();
        for cookie in headers.get_all(header::SET_COOKIE) {
            let (name, rest) = cookie.to_str().unwrap().split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            if value.is_empty() {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        let location = headers.get(header::LOCATION).map(|value| value.to_str().unwrap().to_owned());
        Page { status: answer.status().as_u16(), location, headers, text: answer.text().await.unwrap() }
    }
}

impl Page {
    /// Returns the text of what a CSS selector names, each without space around it.
    pub fn texts(&self, selector: &str) -> Vec<String> {
        let selector = Selector::parse(selector).unwrap();
        let page = Html::parse_document(&self.text);
        let text = |element: scraper::ElementRef<'_>| {
            element.text().collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
        };
        page.select(&selector).map(text).collect()
    }

    /// Returns an attribute of everything that a CSS selector names.
    pub fn attributes(&self, selector: &str, name: &str) -> Vec<String> {
        let selector = Selector::parse(selector).unwrap();
        let page = Html::parse_document(&self.text);
        page.select(&selector).map(|it| it.attr(name).unwrap_or_default().to_owned()).collect()
    }

    /// Returns what the form that leads to `action` has in it by itself.
    fn form(&self, action: &str) -> BTreeMap<String, String> {
        let form = format!("form[action=\"{action}\"]");
        assert!(!self.attributes(&form, "action").is_empty(), "no form leads to {action}: {}", self.text);
        let fields = format!("{form} input");
        let names = self.attributes(&fields, "name").into_iter();
        let kinds = self.attributes(&fields, "type").into_iter();
        let values = self.attributes(&fields, "value").into_iter();
        let all = names.zip(kinds).zip(values);
        all.filter(|((_, kind), _)| kind == "hidden").map(|((name, _), value)| (name, value)).collect()
    }
}
