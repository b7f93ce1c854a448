//! The clients for Rust. Both leave HTTP to others; here it is one connection for each request, as plain as the tests' own.

use std::io::Write as _;
use std::time::Duration;

use tus_client::http::{HttpHandler, HttpMethod, HttpRequest, HttpResponse};
use tus_uploader::{
    Client, NewUpload, Transport, TransportBody, TransportRequest, TransportResponse,
    UploadMetadata,
};

use crate::run::{CHUNK, How, Job};
use crate::support::{self, Answer};

/// tus_client tries nothing again: that is for the application, which may call `upload` as often as it likes. So this one does, until
/// the server has everything (`upload` fails for an upload of which nothing is missing).
pub(crate) fn tus_client(job: &Job) -> Result<String, String> {
    let client = match job.how {
        How::Override => tus_client::Client::with_method_override(Plain),
        _ => tus_client::Client::new(Plain),
    };
    let metadata = [("filename".to_owned(), job.name.to_owned())];
    let size = job.file.metadata().unwrap().len() as usize;
    let create = || client.create_with_metadata(&job.endpoint, &job.file, metadata.clone().into());
    let url = again(create)?;
    if job.how == How::Cancelled {
        client.delete(&url).map_err(|error| error.to_string())?;
        return Ok(url);
    }
    again(|| {
        let uploaded = match job.how {
            How::Whole | How::Override => client.upload(&url, &job.file),
            _ => client.upload_with_chunk_size(&url, &job.file, CHUNK),
        };
        match client.get_info(&url)?.bytes_uploaded == size {
            true => Ok(()),
            false => uploaded,
        }
    })?;
    Ok(url)
}

/// tus-uploader tries again by itself, but for the creation.
pub(crate) fn tus_uploader(job: &Job) -> Result<String, String> {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(async {
        let endpoint = job.endpoint.parse().unwrap();
        let mut client = Client::with_transport(endpoint, Plain).with_max_retries(8);
        if job.how != How::Whole {
            client = client.with_max_chunk_size(CHUNK);
        }
        if job.how == How::WithCreation {
            client = client.with_max_initial_upload_size(usize::MAX);
        }
        let mut metadata = UploadMetadata::new();
        metadata.insert("filename", job.name.to_owned());
        let bytes = std::fs::read(&job.file).unwrap();
        if job.how == How::Cancelled {
            let new = NewUpload::new(bytes.len() as u64, metadata);
            let (upload, _) = client.create_upload(new).await.map_err(said)?;
            let first = bytes[..CHUNK].to_vec();
            upload.upload_chunk(0, first).await.map_err(said)?;
            upload.terminate().await.map_err(said)?;
            return Ok(upload.url().to_string());
        }
        let mut last = String::new();
        for _ in 0..20 {
            match client.upload_from(bytes.clone(), metadata.clone()).await {
                Ok(info) => return Ok(info.url().to_string()),
                Err(error) => last = said(error),
            }
        }
        Err(last)
    })
}

fn said(error: tus_uploader::Error) -> String {
    format!("{error:?}")
}

/// What an application does that does not give up soon.
fn again<T>(mut call: impl FnMut() -> Result<T, tus_client::Error>) -> Result<T, String> {
    let mut last = None;
    for _ in 0..200 {
        match call() {
            Ok(value) => return Ok(value),
            Err(error) => last = Some(error),
        }
        // The server may be starting.
        std::thread::park_timeout(Duration::from_millis(20));
    }
    Err(last.map(|error| error.to_string()).unwrap_or_default())
}

/// One connection for each request.
#[derive(Clone)]
struct Plain;

fn exchange(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Answer, String> {
    let url: tus_uploader::url::Url = url.parse().unwrap();
    let address = url.socket_addrs(|| None).unwrap()[0];
    let request = support::request(&address.to_string(), method, url.path(), headers, body);
    let stream = std::net::TcpStream::connect(address).map_err(|error| error.to_string())?;
    let wait = Some(Duration::from_secs(60));
    stream.set_read_timeout(wait).unwrap();
    let _ = (&stream).write_all(&request);
    support::try_read_answer(&mut &stream)
}

impl HttpHandler for Plain {
    fn handle_request(&self, request: HttpRequest<'_>) -> Result<HttpResponse, tus_client::Error> {
        let method = match request.method {
            HttpMethod::Head => "HEAD",
            HttpMethod::Patch => "PATCH",
            HttpMethod::Options => "OPTIONS",
            HttpMethod::Post => "POST",
            HttpMethod::Delete => "DELETE",
        };
        let headers = request.headers.iter();
        let headers: Vec<(&str, &str)> = headers
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let body = request.body.unwrap_or_default();
        let answer = exchange(method, &request.url, &headers, body)
            .map_err(tus_client::Error::HttpHandlerError)?;
        let fields = answer.head.lines().skip(1);
        let fields = fields.filter_map(|line| line.split_once(':'));
        Ok(HttpResponse {
            headers: fields
                .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
                .collect(),
            status_code: answer.status.into(),
        })
    }
}

#[async_trait::async_trait]
impl Transport for Plain {
    async fn send(&self, request: TransportRequest) -> tus_uploader::Result<TransportResponse> {
        let (head, body) = request.into_parts();
        let body = match body {
            TransportBody::Bytes(bytes) => bytes,
            _ => Vec::new(),
        };
        let headers = head.headers.iter();
        let headers: Vec<(&str, &str)> = headers
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        let answer = exchange(head.method.as_str(), &head.uri.to_string(), &headers, &body)
            .map_err(tus_uploader::Error::transport)?;
        let mut response = http::Response::builder().status(answer.status);
        for (name, value) in answer
            .head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
        {
            response = response.header(name, value.trim());
        }
        Ok(response.body(answer.body).unwrap())
    }
}
