//! From hyper's service to ours: `&self` to a clone per request, hyper's body to [`Body`], and the exchange counted until its body is over.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::body::Incoming;
use pin_project_lite::pin_project;

use super::HttpService;
use super::activity::{Activity, Exchange};
use crate::body::{Body, BoxError, Request, Response};

/// A service of ours as hyper calls it.
#[derive(Clone)]
pub(super) struct Adapter<S> {
    service: S,
    activity: Arc<Activity>,
}

impl<S> Adapter<S> {
    pub(super) const fn new(service: S, activity: Arc<Activity>) -> Self {
        Self { service, activity }
    }
}

impl<S: HttpService> hyper::service::Service<http::Request<Incoming>> for Adapter<S> {
    type Response = Response;
    type Error = BoxError;
    type Future = Answering<S>;

    fn call(&self, request: http::Request<Incoming>) -> Answering<S> {
        Answering {
            exchange: Some(Exchange::begin(&self.activity)),
            step: Step::Waiting { service: self.service.clone(), request: Some(request.map(Body::from)) },
        }
    }
}

pin_project! {
    /// One request on its way through a service, without an allocation.
    pub(super) struct Answering<S: HttpService> {
        exchange: Option<Exchange>,
        #[pin]
        step: Step<S>,
    }
}

pin_project! {
    #[project = StepProjection]
    enum Step<S: HttpService> {
        Waiting { service: S, request: Option<Request> },
        Called { #[pin] answer: S::Future },
    }
}

impl<S: HttpService> Future for Answering<S> {
    type Output = Result<Response, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.step.as_mut().project() {
                StepProjection::Waiting { service, request } => {
                    ready!(service.poll_ready(cx)).map_err(Into::into)?;
                    let Some(request) = request.take() else { return Poll::Pending };
                    let answer = service.call(request);
                    this.step.set(Step::Called { answer });
                }
                StepProjection::Called { answer } => {
                    let mut response = ready!(answer.poll(cx)).map_err(Into::into)?;
                    if let Some(exchange) = this.exchange.take() {
                        response.body_mut().set_exchange(exchange);
                    }
                    return Poll::Ready(Ok(response));
                }
            }
        }
    }
}
