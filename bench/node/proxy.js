// The proxy that people write in Node: http-proxy-middleware with a check of the
// token, in one process for each core.
import cluster from "node:cluster";
import { readFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import os from "node:os";
import { createProxyMiddleware } from "http-proxy-middleware";

const config = JSON.parse(process.argv[2]);

if (cluster.isPrimary) {
  for (let i = 0; i < os.availableParallelism(); i++) cluster.fork();
} else {
  let turn = 0;
  const proxy = createProxyMiddleware({
    target: "http://" + config.upstreams[0],
    router: () => "http://" + config.upstreams[turn++ % config.upstreams.length],
    xfwd: true,
    logger: undefined,
  });
  const known = (req) => req.headers.authorization === "Bearer " + config.token;
  const answer = (req, res) => {
    if (!known(req)) {
      res.writeHead(401).end();
      return;
    }
    delete req.headers.authorization;
    proxy(req, res);
  };
  const server = config.tls
    ? https.createServer(
        {
          cert: readFileSync(config.dir + "/cert.pem"),
          key: readFileSync(config.dir + "/key.pem"),
          minVersion: "TLSv1.3",
          ciphers: "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256",
        },
        answer,
      )
    : http.createServer(answer);
  server.on("upgrade", (req, socket, head) => {
    if (!known(req)) {
      socket.end("HTTP/1.1 401 Unauthorized\r\nConnection: close\r\n\r\n");
      return;
    }
    delete req.headers.authorization;
    if (config.logs) console.log(JSON.stringify({ ip: req.socket.remoteAddress, uri: req.url }));
    proxy.upgrade(req, socket, head);
  });
  server.listen({ host: "127.0.0.1", port: config.port, backlog: 4096 });
}
