"""Formats by name, in the words of the servers that write them."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache

from logpipe.formats import escapes
from logpipe.formats.apache import PORT, compile_apache
from logpipe.formats.fields import TEXTS, FormatError
from logpipe.formats.json_lines import Json, compile_json
from logpipe.formats.nginx import compile_nginx
from logpipe.formats.pattern import Field, Pattern
from logpipe.formats.times import ISO, Clock
from logpipe.formats.w3c import compile_w3c

Format = Pattern | Json

_COMMON = '%h %l %u %t "%r" %>s %b'
_HEADERS = ' "%{Referer}i" "%{User-Agent}i"'
_NGINX = '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent'
_NGINX_HEADERS = ' "$http_referer" "$http_user_agent"'
NGINX_JSON = (
    '{"time":"$time_iso8601","remote_addr":"$remote_addr","host":"$host","request":"$request","status":"$status",'
    '"body_bytes_sent":"$body_bytes_sent","request_time":"$request_time","http_referer":"$http_referer",'
    '"http_user_agent":"$http_user_agent","ssl_protocol":"$ssl_protocol",'
    '"content_type":"$sent_http_content_type"}'
)
_CADDY = {
    "host": "request.remote_ip",
    "time_s": "ts",
    "method": "request.method",
    "target": "request.uri",
    "status": "status",
    "sent_bytes": "size",
    "vhost": "request.host",
    "referrer": "request.headers.Referer.0",
    "user_agent": "request.headers.User-Agent.0",
    "latency_s": "duration",
    "tls_number": "request.tls.version",
    "content_type": "resp_headers.Content-Type.0",
}
_TRAEFIK_JSON = {
    "host": "ClientHost",
    "time": "StartUTC",
    "method": "RequestMethod",
    "target": "RequestPath",
    "status": "DownstreamStatus",
    "sent_bytes": "DownstreamContentSize",
    "vhost": "RequestHost",
    "referrer": "request_Referer",
    "user_agent": "request_User-Agent",
    "latency_ns": "Duration",
    "tls_version": "TLSVersion",
    "content_type": "downstream_Content-Type",
}
_IIS = (
    "#Fields: date time s-ip cs-method cs-uri-stem cs-uri-query s-port cs-username c-ip "
    "cs(User-Agent) cs(Referer) sc-status sc-substatus sc-win32-status time-taken"
)
_CLOUDFRONT = (
    "#Fields: date time x-edge-location sc-bytes c-ip cs-method cs(Host) cs-uri-stem sc-status "
    "cs(Referer) cs(User-Agent) cs-uri-query cs(Cookie) x-edge-result-type x-edge-request-id "
    "x-host-header cs-protocol cs-bytes time-taken x-forwarded-for ssl-protocol ssl-cipher "
    "x-edge-response-result-type cs-protocol-version fle-status fle-encrypted-fields c-port "
    "time-to-first-byte x-edge-detailed-result-type sc-content-type sc-content-len "
    "sc-range-start sc-range-end"
)
# Traefik writes as nginx does, but escapes nothing. Behind it: requests, router, server, milliseconds.
_TRAEFIK = f'{_NGINX}{_NGINX_HEADERS} $requests "$router" "$server" ${{duration}}ms'
_TRAEFIK_FIELDS = {"duration": Field("duration", "latency", unit="ms")}
# Elastic Load Balancing's "Access log entries"; fields that come after these are read over.
_AWS_ALB = (
    "$type $time $elb $client:$port $target $request_processing_time $target_processing_time "
    "$response_processing_time $status $target_status_code $received_bytes $bytes_sent "
    '"$request" "$http_user_agent" $ssl_cipher $ssl_protocol $target_group_arn "$trace_id" '
    '"$domain_name" $rest'
)
_AWS_ALB_FIELDS = {
    "time": Field("time", "time", Clock(ISO)),
    "client": Field("client", "host"),
    "port": Field("port", shape=PORT),
    "request_processing_time": Field("request_processing_time", "latency", unit="s"),
    "target_processing_time": Field("target_processing_time", "latency", unit="s"),
    "response_processing_time": Field("response_processing_time", "latency", unit="s"),
    "domain_name": Field("domain_name", "vhost"),
}


def _any_servers(text: str) -> Pattern:
    """What servers of every age write: with or without referrer and agent, with escapes or without."""
    made, core = compile_apache(_COMMON + _HEADERS), compile_apache(_COMMON)
    parts = [_of_any_age(part) if isinstance(part, Field) else part for part in made.parts]
    if text == _COMMON:  # what stands behind it says nothing
        parts = [
            replace(part, role="") if isinstance(part, Field) and part.role in TEXTS else part
            for part in parts
        ]
    return replace(made, text=text, parts=tuple(parts), optional_from=len(core.parts), unescaped=True)


def _of_any_age(part: Field) -> Field:
    if part.name in ("%l", "%u"):  # one that begins like a time leaves the time's place unsure
        return replace(part, shape=r"[^ \[][^ ]*")
    return replace(part, escape=escapes.NONE) if part.role == "host" else part


# In the order in which `detect` prefers them, of those that read a log equally well.
PRESETS: Mapping[str, Callable[[], Format]] = {
    "common": lambda: _any_servers(_COMMON),
    "combined": lambda: _any_servers(_COMMON + _HEADERS),
    "vhost_common": lambda: compile_apache("%v:%p " + _COMMON),
    "vhost_combined": lambda: compile_apache('%v:%p %h %l %u %t "%r" %>s %O' + _HEADERS),
    "apache_common": lambda: compile_apache(_COMMON),
    "apache_combined": lambda: compile_apache(_COMMON + _HEADERS),
    "nginx": lambda: compile_nginx(_NGINX + _NGINX_HEADERS),
    "nginx_json": lambda: compile_nginx(NGINX_JSON, "json"),
    "caddy": lambda: compile_json(_CADDY, "caddy"),
    "traefik": lambda: compile_nginx(_TRAEFIK, "none", _TRAEFIK_FIELDS),
    "traefik_json": lambda: compile_json(_TRAEFIK_JSON, "traefik_json"),
    "iis": lambda: compile_w3c(_IIS),
    "aws_alb": lambda: compile_nginx(_AWS_ALB, own=_AWS_ALB_FIELDS),
    "cloudfront": lambda: compile_w3c(_CLOUDFRONT),
}


@cache
def preset(name: str) -> Format:
    """The format of that name.

    Raises:
        FormatError: There is none.
    """
    if name not in PRESETS:
        raise FormatError(
            f"Format {name!r} is unknown. Known are {', '.join(PRESETS)}; or give the server's own words: "
            "an Apache LogFormat, %h …, an nginx log_format, $remote_addr …, a #Fields: line, or a JSON map"
        )
    return PRESETS[name]()
