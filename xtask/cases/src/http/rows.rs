//! The rows of the table.

use super::Row;

/// Requests and their replies.
pub const ROWS: &[Row] = &[
    Row(
        "GET /srv/a.txt",
        "200 ;; Content-Length: 6 ;; Content-Type: text/plain; charset=utf-8 ;; Accept-Ranges: bytes ;; Connection: keep-alive ;; -Transfer-Encoding ;; =hello\n",
    ),
    Row(
        "HEAD /srv/a.txt",
        "200 ;; Content-Length: 6 ;; Accept-Ranges: bytes ;; #0",
    ),
    Row("GET /srv/empty", "200 ;; Content-Length: 0 ;; #0"),
    Row(
        "GET /srv/big",
        "200 ;; Content-Length: 200000 ;; Content-Type: application/octet-stream ;; #200000",
    ),
    Row(
        "GET /srv/boot.efi",
        "200 ;; Content-Type: application/octet-stream ;; =MZ",
    ),
    Row(
        "GET /srv/PAGE.HTML",
        "200 ;; Content-Type: text/html; charset=utf-8 ;; =<p>",
    ),
    Row(
        "GET /srv/kernel.gz",
        "200 ;; Content-Type: application/octet-stream ;; -Content-Encoding ;; #2",
    ),
    Row("GET /srv/.x", "200 ;; =hidden"),
    Row("GET /srv/dir/b", "200 ;; =b"),
    Row("GET /srv/dir/%C3%A4%20b%3F%23%25.txt", "200 ;; =odd"),
    Row("GET /srv/link", "200 ;; =hello\n"),
    Row("GET /srv/a.txt?x=y", "200 ;; =hello\n"),
    Row("GET /srv/a.txt?x=/../y", "200 ;; =hello\n"),
    Row("GET http://server/srv/a.txt", "200 ;; =hello\n"),
    Row("GET HTTP://other:99/srv/a.txt?q", "200 ;; =hello\n"),
    Row("GET //srv/a.txt", "200 ;; =hello\n"),
    Row("GET /srv//a.txt", "200 ;; =hello\n"),
    Row("GET /srv/./a.txt", "200 ;; =hello\n"),
    Row("GET /srv/dir/../a.txt", "200 ;; =hello\n"),
    Row("GET /srv/dir/%2e%2e/a.txt", "200 ;; =hello\n"),
    Row("GET /%73rv/%61.txt", "200 ;; =hello\n"),
    Row(
        "GET /srv/a.txt|Accept-Encoding: gzip, br",
        "200 ;; -Content-Encoding ;; =hello\n",
    ),
    Row(
        "GET /srv/a.txt|X-Forwarded-For: 192.0.2.1",
        "200 ;; =hello\n",
    ),
    Row(
        "GET /srv/a.txt|Authorization: Basic eDp5",
        "200 ;; =hello\n",
    ),
    Row(
        "GET /srv/none",
        "404 ;; Content-Type: text/plain ;; =Not Found\n",
    ),
    Row(
        "GET /srv/none/",
        "404 ;; Content-Type: text/plain ;; =Not Found\n",
    ),
    Row(
        "GET /srv/a.txt/",
        "404 ;; Content-Type: text/plain ;; =Not Found\n",
    ),
    Row(
        "GET /srv/a.txt/x",
        "404 ;; Content-Type: text/plain ;; =Not Found\n",
    ),
    Row(
        "GET /srv/out",
        "404 ;; Content-Type: text/plain ;; =Not Found\n",
    ),
    Row(
        "GET /srv/loop",
        "404 ;; Content-Type: text/plain ;; =Not Found\n",
    ),
    Row(
        "GET /srv/fifo",
        "404 ;; Content-Type: text/plain ;; =Not Found\n",
    ),
    Row(
        "GET /srv/link/",
        "404 ;; Content-Type: text/plain ;; =Not Found\n",
    ),
    Row(
        "GET /none",
        "404 ;; Content-Type: text/plain ;; =Not Found\n",
    ),
    Row(
        "GET /srv2",
        "404 ;; Content-Type: text/plain ;; =Not Found\n",
    ),
    Row("GET /sr", "404 ;; Content-Type: text/plain ;; =Not Found\n"),
    Row(
        "GET /srv/%2Fa.txt",
        "404 ;; Content-Type: text/plain ;; =Not Found\n",
    ),
    Row(
        "GET /srv/dir%2Fb",
        "404 ;; Content-Type: text/plain ;; =Not Found\n",
    ),
    Row(
        "GET /srv/%252e%252e/a.txt",
        "404 ;; Content-Type: text/plain ;; =Not Found\n",
    ),
    Row(
        "GET /etc/passwd",
        "404 ;; Content-Type: text/plain ;; =Not Found\n",
    ),
    Row(
        "GET /srv/A.TXT",
        "404 ;; Content-Type: text/plain ;; =Not Found\n",
    ),
    Row(
        "GET /favicon.ico",
        "404 ;; Content-Type: text/plain ;; =Not Found\n",
    ),
    Row("HEAD /srv/none", "404 ;; Content-Length: 10 ;; #0"),
    Row("GET /srv/%", "400 ;; =Bad Request\n"),
    Row("GET /srv/%4", "400 ;; =Bad Request\n"),
    Row("GET /srv/%zz", "400 ;; =Bad Request\n"),
    Row("GET /srv/a%00b", "400 ;; =Bad Request\n"),
    Row("GET /..", "400 ;; =Bad Request\n"),
    Row("GET /srv/../..", "400 ;; =Bad Request\n"),
    Row("GET /%2e%2e/x", "400 ;; =Bad Request\n"),
    Row(
        "GET /srv/a.txt|Range: bytes=0-0",
        "206 ;; Content-Range: bytes 0-0/6 ;; Content-Length: 1 ;; =h",
    ),
    Row(
        "GET /srv/a.txt|Range: bytes=1-3",
        "206 ;; Content-Range: bytes 1-3/6 ;; =ell",
    ),
    Row(
        "GET /srv/a.txt|Range: bytes=3-",
        "206 ;; Content-Range: bytes 3-5/6 ;; =lo\n",
    ),
    Row(
        "GET /srv/a.txt|Range: bytes=-2",
        "206 ;; Content-Range: bytes 4-5/6 ;; =o\n",
    ),
    Row(
        "GET /srv/a.txt|Range: bytes=-99",
        "206 ;; Content-Range: bytes 0-5/6 ;; =hello\n",
    ),
    Row(
        "GET /srv/a.txt|Range: bytes=0-5",
        "206 ;; Content-Range: bytes 0-5/6 ;; =hello\n",
    ),
    Row(
        "GET /srv/a.txt|Range: bytes=4-99",
        "206 ;; Content-Range: bytes 4-5/6 ;; =o\n",
    ),
    Row(
        "GET /srv/a.txt|Range: bytes=5-18446744073709551615",
        "206 ;; Content-Range: bytes 5-5/6 ;; =\n",
    ),
    Row("GET /srv/a.txt|Range: BYTES=0-1", "206 ;; =he"),
    Row("GET /srv/a.txt|Range: bytes= 0-1", "206 ;; =he"),
    Row(
        "GET /srv/a.txt|Range: bytes=6-",
        "416 ;; Content-Range: bytes */6 ;; -Accept ;; ~Range",
    ),
    Row(
        "GET /srv/a.txt|Range: bytes=6-6",
        "416 ;; Content-Range: bytes */6",
    ),
    Row(
        "GET /srv/a.txt|Range: bytes=99-100",
        "416 ;; Content-Range: bytes */6",
    ),
    Row(
        "GET /srv/a.txt|Range: bytes=-0",
        "416 ;; Content-Range: bytes */6",
    ),
    Row(
        "GET /srv/a.txt|Range: bytes=18446744073709551616-",
        "416 ;; Content-Range: bytes */6",
    ),
    Row("GET /srv/a.txt|Range: bytes=3-2", "200 ;; =hello\n"),
    Row("GET /srv/a.txt|Range: bytes=u-u", "200 ;; =hello\n"),
    Row(
        "GET /srv/a.txt|Range: bytes=0-1,3-4",
        "206 ;; -Content-Range ;; Content-Length: 214 ;; Accept-Ranges: bytes ;; parts 0-1 3-4",
    ),
    Row(
        "GET /srv/a.txt|Range: bytes=-1, 2-3\t,0-0",
        "206 ;; parts 5-5 2-3 0-0",
    ),
    Row("GET /srv/a.txt|Range: bytes=0-2,3-", "206 ;; parts 0-2 3-5"),
    Row(
        "GET /srv/big|Range: bytes=199999-,0-99998,100000-199998",
        "206 ;; parts 199999-199999 0-99998 100000-199998",
    ),
    Row(
        "GET /srv/big HTTP/1.0|Range: bytes=100000-199999,0-99999",
        "206 ;; parts 100000-199999 0-99999 ;; closes",
    ),
    Row(
        "GET /srv/big|Range: bytes=0-9,20-29,40-49,60-69,80-89,100-109,120-129,140-149,160-169,180-189,200-209,220-229,240-249,260-269,280-289,300-309,320-329,340-349,360-369,380-389",
        "206 ;; parts 0-9 20-29 40-49 60-69 80-89 100-109 120-129 140-149 160-169 180-189 200-209 220-229 240-249 260-269 280-289 300-309 320-329 340-349 360-369 380-389",
    ),
    Row(
        "GET /srv/big|Range: bytes=0-0,2-2,4-4,6-6,8-8,10-10,12-12,14-14,16-16,18-18,20-20,22-22,24-24,26-26,28-28,30-30,32-32,34-34,36-36,38-38,40-40",
        "200 ;; -Content-Range ;; Content-Type: application/octet-stream ;; #200000",
    ),
    Row(
        "GET /srv/a.txt|Range: bytes={0-,*1000}0-",
        "200 ;; =hello\n",
    ),
    Row(
        "GET /srv/a.txt|Range: bytes=0-2,2-3",
        "200 ;; -Content-Range ;; =hello\n",
    ),
    Row("GET /srv/a.txt|Range: bytes=0-0,2", "200 ;; =hello\n"),
    Row(
        "GET /srv/a.txt|Range: bytes=9-,1-3,-0",
        "206 ;; Content-Type: text/plain; charset=utf-8 ;; Content-Range: bytes 1-3/6 ;; =ell",
    ),
    Row(
        "GET /srv/a.txt|Range: bytes=9-,1-1,-0,3-3",
        "206 ;; parts 1-1 3-3",
    ),
    Row(
        "GET /srv/a.txt|Range: bytes=9-,6-7",
        "416 ;; Content-Range: bytes */6",
    ),
    Row(
        "GET /srv/empty|Range: bytes=0-0,1-1",
        "416 ;; Content-Range: bytes */0",
    ),
    Row(
        "HEAD /srv/a.txt|Range: bytes=0-1,3-4",
        "206 ;; -Content-Range ;; Content-Length: 214 ;; #0",
    ),
    Row(
        "HEAD /srv/big|Range: bytes=0-99998,100000-199999",
        "206 ;; -Content-Range ;; #0",
    ),
    Row("GET /srv/a.txt|Range: bytes=0-0,", "200 ;; =hello\n"),
    Row("GET /srv/a.txt|Range: bytes", "200 ;; =hello\n"),
    Row("GET /srv/a.txt|Range: bytes=", "200 ;; =hello\n"),
    Row("GET /srv/a.txt|Range: bytes=-", "200 ;; =hello\n"),
    Row("GET /srv/a.txt|Range: bytes=1", "200 ;; =hello\n"),
    Row("GET /srv/a.txt|Range: bytes=a-b", "200 ;; =hello\n"),
    Row("GET /srv/a.txt|Range: bytes=+0-1", "200 ;; =hello\n"),
    Row("GET /srv/a.txt|Range: lines=0-1", "200 ;; =hello\n"),
    Row("GET /srv/a.txt|Range: 0-1", "200 ;; =hello\n"),
    Row("GET /srv/a.txt|Range: bytes=0x0-1", "200 ;; =hello\n"),
    Row(
        "HEAD /srv/a.txt|Range: bytes=1-3",
        "206 ;; Content-Range: bytes 1-3/6 ;; Content-Length: 3 ;; #0",
    ),
    Row(
        "GET /srv/empty|Range: bytes=0-",
        "416 ;; Content-Range: bytes */0",
    ),
    Row("GET /srv/empty|Range: bytes=-1", "200 ;; #0"),
    Row(
        "GET /srv/big|Range: bytes=199999-",
        "206 ;; Content-Range: bytes 199999-199999/200000 ;; #1",
    ),
    Row(
        "GET /srv/big|Range: bytes=65536-196607",
        "206 ;; Content-Length: 131072 ;; #131072",
    ),
    Row(
        "GET /srv/|Range: bytes=0-1",
        "200 ;; -Content-Range ;; ~</table>",
    ),
    Row("GET /srv/none|Range: bytes=0-1", "404 ;; =Not Found\n"),
    Row(
        "GET /srv/a.txt|If-None-Match: {tag}",
        "304 ;; -Content-Length ;; ETag: {tag} ;; #0",
    ),
    Row("GET /srv/a.txt|If-None-Match: W/{tag}", "304"),
    Row("GET /srv/a.txt|If-None-Match: \"x\", {tag}", "304"),
    Row("GET /srv/a.txt|If-None-Match: *", "304"),
    Row("GET /srv/a.txt|If-None-Match: \"x\"", "200 ;; =hello\n"),
    Row(
        "GET /srv/a.txt|If-None-Match: \"x\"|If-None-Match: {tag}",
        "304",
    ),
    Row("GET /srv/a.txt|If-None-Match: x", "200 ;; =hello\n"),
    Row("GET /srv/a.txt|If-Match: {tag}", "200 ;; =hello\n"),
    Row("GET /srv/a.txt|If-Match: *", "200"),
    Row(
        "GET /srv/a.txt|If-Match: W/{tag}",
        "412 ;; =Precondition Failed\n",
    ),
    Row("GET /srv/a.txt|If-Match: \"x\"", "412"),
    Row("GET /srv/a.txt|If-Match: \"x\"|If-None-Match: {tag}", "412"),
    Row("GET /srv/a.txt|If-Modified-Since: {date}", "304"),
    Row(
        "GET /srv/a.txt|If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT",
        "200",
    ),
    Row(
        "GET /srv/a.txt|If-Modified-Since: Sunday, 06-Nov-94 08:49:37 GMT",
        "200",
    ),
    Row(
        "GET /srv/a.txt|If-Modified-Since: Sun Nov  6 08:49:37 1994",
        "200",
    ),
    Row("GET /srv/a.txt|If-Modified-Since: yesterday", "200"),
    Row(
        "GET /srv/a.txt|If-Modified-Since: {date}|If-None-Match: \"x\"",
        "200",
    ),
    Row("GET /srv/a.txt|If-Unmodified-Since: {date}", "200"),
    Row(
        "GET /srv/a.txt|If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT",
        "412",
    ),
    Row(
        "GET /srv/a.txt|If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT|If-Match: {tag}",
        "200",
    ),
    Row(
        "GET /srv/a.txt|Range: bytes=0-0|If-Range: {tag}",
        "206 ;; =h",
    ),
    Row(
        "GET /srv/a.txt|Range: bytes=0-0|If-Range: W/{tag}",
        "200 ;; =hello\n",
    ),
    Row(
        "GET /srv/a.txt|Range: bytes=0-0|If-Range: \"x\"",
        "200 ;; =hello\n",
    ),
    Row(
        "GET /srv/a.txt|Range: bytes=0-0|If-Range: {date}",
        "206 ;; =h",
    ),
    Row(
        "GET /srv/a.txt|Range: bytes=0-0|If-Range: Sun, 06 Nov 1994 08:49:37 GMT",
        "200 ;; =hello\n",
    ),
    Row(
        "GET /srv/a.txt|Range: bytes=0-0|If-Range: x",
        "200 ;; =hello\n",
    ),
    Row(
        "GET /srv/a.txt|Range: bytes=0-0,2-2|If-Range: {tag}",
        "206 ;; parts 0-0 2-2",
    ),
    Row(
        "GET /srv/a.txt|Range: bytes=0-0,2-2|If-Range: {date}",
        "206 ;; parts 0-0 2-2",
    ),
    Row(
        "GET /srv/a.txt|Range: bytes=0-0,2-2|If-Range: \"x\"",
        "200 ;; =hello\n",
    ),
    Row("GET /srv/a.txt|Range: bytes=9-|If-None-Match: {tag}", "304"),
    Row("HEAD /srv/a.txt|If-None-Match: {tag}", "304"),
    Row("GET /srv/none|If-Match: *", "404"),
    Row(
        "POST /srv/a.txt",
        "405 ;; Allow: GET, HEAD, OPTIONS ;; =Method Not Allowed\n",
    ),
    Row(
        "PUT /srv/a.txt",
        "405 ;; Allow: GET, HEAD, OPTIONS ;; =Method Not Allowed\n",
    ),
    Row(
        "DELETE /srv/a.txt",
        "405 ;; Allow: GET, HEAD, OPTIONS ;; =Method Not Allowed\n",
    ),
    Row(
        "PATCH /srv/a.txt",
        "405 ;; Allow: GET, HEAD, OPTIONS ;; =Method Not Allowed\n",
    ),
    Row(
        "TRACE /srv/a.txt",
        "405 ;; Allow: GET, HEAD, OPTIONS ;; =Method Not Allowed\n",
    ),
    Row(
        "PROPFIND /srv/a.txt",
        "405 ;; Allow: GET, HEAD, OPTIONS ;; =Method Not Allowed\n",
    ),
    Row(
        "MKCOL /srv/a.txt",
        "405 ;; Allow: GET, HEAD, OPTIONS ;; =Method Not Allowed\n",
    ),
    Row("OPTIONS *", "200 ;; Allow: GET, HEAD, OPTIONS ;; =OK\n"),
    Row("OPTIONS /srv/a.txt", "200 ;; Allow: GET, HEAD, OPTIONS"),
    Row("CONNECT server:80", "405 ;; Allow: GET, HEAD, OPTIONS"),
    Row("get /srv/a.txt", "501 ;; =Not Implemented\n"),
    Row("Get /srv/a.txt", "501 ;; =Not Implemented\n"),
    Row("FOO /srv/a.txt", "501 ;; =Not Implemented\n"),
    Row("GETX /srv/a.txt", "501 ;; =Not Implemented\n"),
    Row("PUT /srv/new|Content-Length: 0", "405"),
    Row("PUT /srv/new|Content-Length: 100000", "405 ;; closes"),
    Row(
        "PUT /srv/new|Content-Length: 4|Expect: 100-continue",
        "405 ;; closes",
    ),
    Row("PUT /srv/new|Transfer-Encoding: chunked", "405 ;; closes"),
    Row(
        "GET /srv/a.txt|Transfer-Encoding: chunked",
        "200 ;; =hello\n ;; closes",
    ),
    Row(
        "raw GET /srv/a.txt HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc",
        "200 ;; =hello\n",
    ),
    Row(
        "raw POST /srv/a.txt HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc",
        "405",
    ),
    Row(
        "GET /srv/a.txt|Connection: close",
        "200 ;; =hello\n ;; closes",
    ),
    Row(
        "GET /srv/a.txt|Connection: x, CLOSE",
        "200 ;; =hello\n ;; closes",
    ),
    Row(
        "GET /srv/a.txt|Connection: keep-alive",
        "200 ;; Connection: keep-alive ;; =hello\n",
    ),
    Row(
        "GET /srv/a.txt HTTP/1.0",
        "200 ;; Connection: close ;; =hello\n ;; closes",
    ),
    Row(
        "raw GET /srv/a.txt HTTP/1.0\r\n\r\n",
        "200 ;; =hello\n ;; closes",
    ),
    Row(
        "GET /srv/a.txt HTTP/1.0|Connection: Keep-Alive",
        "200 ;; Connection: keep-alive ;; =hello\n",
    ),
    Row("GET /srv/a.txt HTTP/1.2", "200 ;; =hello\n"),
    Row("GET /srv/a.txt HTTP/1.9", "200 ;; =hello\n"),
    Row("GET /srv/none|Connection: close", "404 ;; closes"),
    Row("raw GET /srv/a.txt HTTP/1.1\r\n\r\n", "400 ;; closes"),
    Row(
        "raw GET /srv/a.txt HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "400 ;; closes",
    ),
    Row(
        "raw GET /srv/a.txt HTTP/1.1\r\nHost: a b\r\n\r\n",
        "400 ;; closes",
    ),
    Row(
        "raw GET /srv/a.txt HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "400 ;; closes",
    ),
    Row(
        "raw GET /srv/a.txt HTTP/1.1\r\nHost: a@b\r\n\r\n",
        "400 ;; closes",
    ),
    Row(
        "raw GET /srv/a.txt HTTP/1.1\r\nHost : a\r\n\r\n",
        "400 ;; closes",
    ),
    Row(
        "raw GET /srv/a.txt HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n",
        "400 ;; closes",
    ),
    Row(
        "raw GET /srv/a.txt HTTP/1.1\r\nHost: a\r\n X: y\r\n\r\n",
        "400 ;; closes",
    ),
    Row(
        "raw GET /srv/a.txt HTTP/1.1\r\nHost: a\r\n\tX: y\r\n\r\n",
        "400 ;; closes",
    ),
    Row(
        "raw GET /srv/a.txt HTTP/1.1\r\nHost: a\r\nX\r\n\r\n",
        "400 ;; closes",
    ),
    Row(
        "raw GET /srv/a.txt HTTP/1.1\r\nHost: a\r\n: y\r\n\r\n",
        "400 ;; closes",
    ),
    Row(
        "raw GET /srv/a.txt HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
        "400 ;; closes",
    ),
    Row(
        "raw GET /srv/a.txt HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
        "400 ;; closes",
    ),
    Row(
        "raw GET /srv/a.txt HTTP/1.1\r\nHost: a\r\nX: a\x01b\r\n\r\n",
        "400 ;; closes",
    ),
    Row(
        "raw GET /srv/a.txt HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\n",
        "400 ;; closes",
    ),
    Row(
        "raw GET /srv/a.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\n",
        "400 ;; closes",
    ),
    Row(
        "raw GET /srv/a.txt HTTP/1.1\r\nHost: a\r\nContent-Length: -3\r\n\r\n",
        "400 ;; closes",
    ),
    Row(
        "raw GET /srv/a.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 3 3\r\n\r\n",
        "400 ;; closes",
    ),
    Row(
        "raw GET /srv/a.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\n",
        "400 ;; closes",
    ),
    Row(
        "raw GET /srv/a.txt HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n",
        "400 ;; closes",
    ),
    Row(
        "raw GET /srv/a.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n",
        "400 ;; closes",
    ),
    Row(
        "raw GET /srv/a.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
        "400 ;; closes",
    ),
    Row(
        "raw GET /srv/a.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
        "400 ;; closes",
    ),
    Row(
        "raw GET /srv/a.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        "400 ;; closes",
    ),
    Row(
        "raw GET /srv/a.txt HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
        "400 ;; closes",
    ),
    Row(
        "raw GET /srv/a.txt HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
        "400 ;; closes",
    ),
    Row(
        "raw GET /srv/a.txt HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
        "400 ;; closes",
    ),
    Row(
        "raw GET /srv/a.txt HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "501 ;; closes",
    ),
    Row(
        "raw GET /srv/a.txt HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "400 ;; closes",
    ),
    Row(
        "raw GET /srv/a.txt HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
        "501 ;; closes",
    ),
    Row(
        "raw GET /srv/a.txt HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
        "501 ;; closes",
    ),
    Row(
        "raw GET /srv/a.txt HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "400 ;; closes",
    ),
    Row("raw GET /srv/a.txt\r\nHost: a\r\n\r\n", "400 ;; closes"),
    Row("raw GET\r\nHost: a\r\n\r\n", "400 ;; closes"),
    Row(
        "raw GET  /srv/a.txt HTTP/1.1\r\nHost: a\r\n\r\n",
        "400 ;; closes",
    ),
    Row(
        "raw GET /srv/a.txt  HTTP/1.1\r\nHost: a\r\n\r\n",
        "400 ;; closes",
    ),
    Row(
        "raw GET /srv/a b HTTP/1.1\r\nHost: a\r\n\r\n",
        "400 ;; closes",
    ),
    Row(
        "raw GET /srv/a.txt HTTP/1.1 \r\nHost: a\r\n\r\n",
        "400 ;; closes",
    ),
    Row(
        "raw GET srv/a.txt HTTP/1.1\r\nHost: a\r\n\r\n",
        "400 ;; closes",
    ),
    Row(
        "raw GET https://server/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "400 ;; closes",
    ),
    Row(
        "raw GET http:///srv HTTP/1.1\r\nHost: a\r\n\r\n",
        "400 ;; closes",
    ),
    Row("raw GET * HTTP/1.1\r\nHost: a\r\n\r\n", "400 ;; closes"),
    Row(
        "raw GET /srv/a.txt http/1.1\r\nHost: a\r\n\r\n",
        "400 ;; closes",
    ),
    Row(
        "raw GET /srv/a.txt HTTP/1\r\nHost: a\r\n\r\n",
        "400 ;; closes",
    ),
    Row(
        "raw GET /srv/a.txt HTTP/11\r\nHost: a\r\n\r\n",
        "400 ;; closes",
    ),
    Row(
        "raw GET /srv/a.txt HTTP/x.y\r\nHost: a\r\n\r\n",
        "400 ;; closes",
    ),
    Row(
        "raw G@T /srv/a.txt HTTP/1.1\r\nHost: a\r\n\r\n",
        "400 ;; closes",
    ),
    Row(
        "raw  GET /srv/a.txt HTTP/1.1\r\nHost: a\r\n\r\n",
        "400 ;; closes",
    ),
    Row(
        "raw GET /srv/a.txt HTTP/2.0\r\nHost: a\r\n\r\n",
        "505 ;; closes",
    ),
    Row(
        "raw GET /srv/a.txt HTTP/0.9\r\nHost: a\r\n\r\n",
        "505 ;; closes",
    ),
    Row(
        "raw GET /srv/a.txt HTTP/3.1\r\nHost: a\r\n\r\n",
        "505 ;; closes",
    ),
    Row("raw \x16\x03\x01\x02\0\x01\0\x01ü\x03\x03", "400 ;; closes"),
    Row(
        "raw \r\nGET /srv/a.txt HTTP/1.1\r\nHost: h\r\n\r\n",
        "200 ;; =hello\n",
    ),
    Row(
        "raw \r\n\r\n\nGET /srv/a.txt HTTP/1.1\r\nHost: h\r\n\r\n",
        "200 ;; =hello\n",
    ),
    Row(
        "raw GET /srv/a.txt HTTP/1.1\nHost: h\n\n",
        "200 ;; =hello\n",
    ),
    Row(
        "raw GET /srv/a.txt HTTP/1.1\r\nhOsT:h\r\n\r\n",
        "200 ;; =hello\n",
    ),
    Row(
        "raw GET /srv/a.txt HTTP/1.1\r\nHost:\t h \t\r\nRange:\tbytes=0-0 \r\n\r\n",
        "206 ;; =h",
    ),
    Row(
        "raw GET /srv/a.txt HTTP/1.1\r\nHost:\r\n\r\n",
        "200 ;; =hello\n",
    ),
    Row(
        "raw GET /srv/a.txt HTTP/1.1\r\nHost: [2001:db8::1]:8080\r\n\r\n",
        "200 ;; =hello\n",
    ),
    Row(
        "GET /",
        "200 ;; Content-Type: text/html; charset=utf-8 ;; ~<a href=\"srv/\">srv/</a></td>",
    ),
    Row("GET /|Accept: text/plain", "200 ;; =srv/\n"),
    Row(
        "GET /|Accept: application/json",
        "200 ;; Content-Type: application/json ;; ~\"name\":\"srv\"",
    ),
    Row(
        "HEAD /",
        "200 ;; Content-Type: text/html; charset=utf-8 ;; #0",
    ),
    Row("GET /srv", "301 ;; Location: srv/ ;; =Moved Permanently\n"),
    Row("GET /srv?sort=size", "301 ;; Location: srv/?sort=size"),
    Row("GET /srv?{q*129}", "301 ;; Location: srv/"),
    Row("HEAD /srv/dir", "301 ;; Location: dir/ ;; #0"),
    Row("GET //srv//dir", "301 ;; Location: dir/"),
    Row("GET /srv/to-dir", "301 ;; Location: to-dir/"),
    Row("GET /srv/a%3Ab", "301 ;; Location: a%3Ab/"),
    Row(
        "GET /srv/to-dir/|Accept: text/plain",
        "200 ;; =sub/\nb\nä b?#%.txt\n",
    ),
    Row("GET /srv/gone", "404 ;; =Not Found\n"),
    Row("GET /srv/", "200 ;; ~href=\"a.txt\""),
    Row(
        "GET /srv/",
        "200 ;; ~<a href=\"to-dir/\">to-dir/</a></td><td>20 ;; ~<td>gone</td><td></td><td></td></tr>",
    ),
    Row(
        "GET /srv/",
        "200 ;; ~<td>fifo</td> ;; ~<td>loop</td><td></td>",
    ),
    Row(
        "GET /srv/dir/",
        "200 ;; ~href=\"%C3%A4%20b%3F%23%25.txt\" ;; ~</title><form id=s></form><h1><a href=\"../../\">",
    ),
    Row(
        "GET /srv/dir/",
        "200 ;; ~</a>/<a href=\"../\">srv</a>/dir/</h1> ;; ~  </td><td>1 </td></tr> ;; ~  </td><td></td></tr>",
    ),
    Row(
        "GET /srv/|Accept: text/plain",
        "200 ;; =a:b/\ndir/\nto-dir/\n.x\na.txt\nbig\nboot.efi\nempty\nfifo\ngone\nkernel.gz\nlink\nloop\nout\nPAGE.HTML\n",
    ),
    Row(
        "GET /srv/?sort=-name|Accept: text/plain",
        "200 ;; =to-dir/\ndir/\na:b/\nPAGE.HTML\nout\nloop\nlink\nkernel.gz\ngone\nfifo\nempty\nboot.efi\nbig\na.txt\n.x\n",
    ),
    Row(
        "GET /srv/?x=&sort=size|Accept: text/plain",
        "200 ;; ~to-dir/\nbig\n.x\na.txt\nlink\nPAGE.HTML\nboot.efi\nkernel.gz\n",
    ),
    Row(
        "GET /srv/?sort=size",
        "200 ;; ~value=-size>Size< ;; ~value=name>Name<",
    ),
    Row("HEAD /srv/dir/|Connection: close", "200 ;; #0 ;; closes"),
    Row(
        "GET /srv/dir/|Accept: text/plain",
        "200 ;; Vary: Accept ;; =sub/\nb\nä b?#%.txt\n",
    ),
    Row(
        "GET /srv/dir/|Accept: application/json",
        "200 ;; ~{\"name\":\"b\",\"type\":\"file\",\"href\":\"b\" ;; ~\"href\":\"sub/\" ;; ~\"href\":\"%C3%A4%20b%3F%23%25.txt\"",
    ),
    Row(
        "GET /srv/dir/|Accept: application/json",
        "200 ;; ~ GMT\",\"size\":1}",
    ),
    Row(
        "GET /srv/dir/|Accept: text/html,application/json",
        "200 ;; Content-Type: text/html; charset=utf-8",
    ),
    Row(
        "GET /srv/dir/|Accept: text/plain;q=0.5, application/json",
        "200 ;; Content-Type: application/json",
    ),
    Row("GET /srv/dir/sub/", "200 ;; ~href=\"../\""),
    Row("GET /srv/dir/sub/|Accept: text/plain", "200 ;; #0"),
    Row(
        "GET /srv/dir/sub/|Accept: application/json",
        "200 ;; =[\n]\n",
    ),
    Row("GET /healthz", "200 ;; Cache-Control: no-store ;; =ok\n"),
    Row("HEAD /healthz", "200 ;; Content-Length: 3 ;; #0"),
    Row("GET /healthz/", "404"),
    Row(
        "GET /srv/{x*256}",
        "404 ;; Content-Type: text/plain ;; =Not Found\n",
    ),
    Row("GET /srv/{y/*600}", "404 ;; =Not Found\n"),
    Row(
        "raw GET /{x*8300} HTTP/1.1\r\nHost: a\r\n\r\n",
        "414 ;; closes",
    ),
    Row(
        "raw GET / HTTP/1.1\r\nHost: a\r\nX: {x*8300}\r\n\r\n",
        "431 ;; closes",
    ),
    Row("GET /srv/a.txt|Cookie: {c*7000}", "200 ;; =hello\n"),
    Row("GET /srv/a.txt?{q*7900}", "200 ;; =hello\n"),
];
