//! What stands in a request's first line and in its headers.

use std::net::{IpAddr, Ipv4Addr};

use http::header::{HOST, HeaderMap, HeaderValue, ORIGIN};
use http::uri::Authority;
use http::{Method, Uri};
use hyperdesk::chassis::cors::Cors;
use hyperdesk::chassis::head::{client_address, is_host, normalized};
use hyperdesk::chassis::request::{QUERY_VALUE_BYTES, QueryValue};
use hyperdesk::services;

use super::{lines, request};

/// A query: the poll's reader, which allocates nothing, reads what a form's reader reads.
pub fn query(input: &[u8]) {
    let Ok(uri) = Uri::try_from([b"/?", input].concat()) else { return };
    let query = uri.query().unwrap_or_default().to_owned();
    let request = request(uri, HeaderMap::new(), b"");
    for name in ["since", "cursor", "wait"] {
        let [found] = request.query_values([name]);
        let pair = query.split('&').find(|pair| pair.split('=').next() == Some(name));
        let mut buffer = [0; QUERY_VALUE_BYTES];
        let decoded = found.map(|value| String::from_utf8_lossy(value.decoded(&mut buffer)).into_owned());
        let Some(pair) = pair else {
            assert_eq!(found.map(QueryValue::raw), None);
            continue;
        };
        let value = form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned());
        let raw = found.map(QueryValue::raw).unwrap_or_default();
        let is_whole = percent_encoding::percent_decode(raw).count() <= QUERY_VALUE_BYTES;
        match is_whole {
            true => assert_eq!(decoded, value),
            false => assert_eq!(found.map(|value| value.decoded(&mut buffer).len()), Some(QUERY_VALUE_BYTES)),
        }
        // The other reader decodes names, too.
        let first = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name);
        assert_eq!(request.query(name), first.map(|(_, value)| value));
        assert!(request.query(name).is_some());
    }
}

/// A path: a route or a miss, whatever it is, and what is normalized stays as it is.
pub fn path(input: &[u8]) {
    let Ok(uri) = Uri::try_from(input) else { return };
    let finds = |path: &str| {
        [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS]
            .map(|method| format!("{:?}", services::find_in_each(&method, path)))
    };
    let _ = finds(uri.path());
    let Some(plain) = normalized(&uri) else { return };
    assert_eq!(normalized(&plain), None);
    assert_eq!((plain.query(), plain.authority()), (uri.query(), uri.authority()));
    let again: Uri = plain.to_string().parse().unwrap();
    assert_eq!(finds(again.path()), finds(plain.path()));
}

/// `X-Forwarded-For`, a header a line: what a client writes in front does not change who it is.
pub fn forwarded(input: &[u8]) {
    let peer = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    let values = input.split(|&byte| byte == b'\n').filter_map(|line| HeaderValue::from_bytes(line).ok());
    let (mut given, mut behind) = (HeaderMap::new(), HeaderMap::new());
    behind.append("x-forwarded-for", HeaderValue::from_static("192.0.2.1, 192.0.2.2"));
    for value in values.take(16) {
        given.append("x-forwarded-for", value.clone());
        behind.append("x-forwarded-for", value);
    }
    assert_eq!(client_address(&given, peer, 0), peer);
    let count = given.get_all("x-forwarded-for").iter();
    let count: usize = count.map(|value| value.to_str().unwrap_or_default().split(',').count()).sum();
    for hops in 1..=count {
        let address = client_address(&given, peer, hops);
        assert_eq!(address, address.to_canonical());
        assert_eq!(address, client_address(&behind, peer, hops));
    }
    assert_eq!(client_address(&given, peer, count + 1), peer);
    for entry in ["203.0.113.9", "203.0.113.9:80", "[2001:db8::9]:80"] {
        let mut before = given.clone();
        before.append("x-forwarded-for", HeaderValue::from_static(entry));
        for hops in 1..4 {
            assert_eq!(client_address(&before, peer, hops + 1), client_address(&given, peer, hops));
        }
    }
}

/// `Origin` on one line and `Host` on the next: a page is the service's own only by the whole name of its host.
pub fn origin(input: &[u8]) {
    let (origin, host) = lines(input);
    let (Ok(origin), Ok(host)) = (HeaderValue::from_bytes(origin), HeaderValue::from_bytes(host)) else {
        return;
    };
    let (nobody, mut headers) = (Cors::new(&[]), HeaderMap::new());
    let is_good = is_host(&host);
    assert_eq!(is_host(&host), is_good, "the second time it is compared with the first");
    headers.insert(HOST, host.clone());
    headers.insert(ORIGIN, origin.clone());
    if nobody.trusts(&headers) {
        let (origin, host) = (origin.to_str().unwrap(), host.to_str().unwrap());
        let (_, of_origin) = origin.split_once("://").unwrap();
        let (of_origin, host): (Authority, Authority) = (of_origin.parse().unwrap(), host.parse().unwrap());
        assert!(of_origin.host().eq_ignore_ascii_case(host.host()));
    }
    if is_good && !host.is_empty() {
        let authority: Authority = host.to_str().unwrap().parse().unwrap();
        assert!(!authority.as_str().contains('@'));
        if let Some(port) = authority.port_u16() {
            let own = format!("https://{}:{port}", authority.host());
            headers.insert(ORIGIN, HeaderValue::try_from(own).unwrap());
            assert!(nobody.trusts(&headers), "{authority}");
        }
    }
}
