package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/loa-syndication/loa/internal/config"
	"github.com/loa-syndication/loa/internal/embedded"
	"github.com/loa-syndication/loa/internal/objects"
	"github.com/loa-syndication/loa/internal/streams"
)

// backbone is what everything else stands on: NATS and S3, embedded or external, reached in the
// same way.
type backbone struct {
	js    jetstream.JetStream
	store *objects.Store
	s3    objects.Options // of the server, without a bucket
	// natsURL is where a CMS connects.
	natsURL string
	s3URL   string   // of the embedded server
	servers []func() // to shut down embedded servers, in the order of their start
	// processors are fewer than the threads that run Go code: see makeRoomForSyncs.
	processors int
}

const (
	// reconnectWait is the pause between attempts to reach NATS again, which never end.
	reconnectWait = 500 * time.Millisecond
	// pingEvery and pingsLost end a connection on which nothing comes any more: to a node that
	// hangs, or through a firewall that has forgotten it. nats.go's own would take six minutes.
	pingEvery = 5 * time.Second
	pingsLost = 2
	// apiTimeout bounds a request to JetStream: an election takes 4 to 7 s.
	apiTimeout = 15 * time.Second
	// flushTimeout bounds the wait for a server that may be away.
	flushTimeout = time.Second
)

// startBackbone starts or connects to NATS and S3, and sets the streams and the bucket up.
func startBackbone(ctx context.Context, cfg *config.Config, log zerolog.Logger) (_ *backbone, err error) {
	b := &backbone{natsURL: cfg.NATS.URL, processors: runtime.GOMAXPROCS(0)}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	nc, err := b.startNATS(ctx, cfg, log)
	if err != nil {
		return nil, err
	}
	if b.js, err = jetstream.New(nc, jetstream.WithDefaultTimeout(apiTimeout)); err != nil {
		return nil, fmt.Errorf("open JetStream: %w", err)
	}
	err = streams.Setup(ctx, b.js, streams.Options{Replicas: cfg.NATS.Replicas, EventsBytes: int64(cfg.Limits.EventsBytes)})
	if err != nil {
		return nil, err
	}
	if cfg.NATS.URL == "" { // nobody else has anything of it
		if err := streams.GiveOutAgain(ctx, b.js); err != nil {
			return nil, err
		}
	}
	b.store, err = b.startS3(ctx, cfg, log)
	return b, err
}

func (b *backbone) startNATS(ctx context.Context, cfg *config.Config, log zerolog.Logger) (*nats.Conn, error) {
	opts := []nats.Option{
		nats.Name("loa " + version()), nats.MaxReconnects(-1), nats.ReconnectWait(reconnectWait),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn().Err(err).Msg("connection to NATS lost, reconnecting")
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) { log.Info().Str("url", nc.ConnectedUrlRedacted()).Msg("connected to NATS again") }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { log.Warn().Err(err).Msg("nats") }),
	}
	if cfg.NATS.URL != "" {
		return connectNATS(cfg, append(opts, nats.PingInterval(pingEvery), nats.MaxPingsOutstanding(pingsLost))...)
	}
	b.processors = makeRoomForSyncs()
	srv, err := embedded.StartNATS(ctx, embedded.NATSOptions{Dir: natsDir(cfg), Listen: cfg.NATS.Listen, Log: log})
	if err != nil {
		return nil, err
	}
	b.servers = append(b.servers, srv.Shutdown)
	b.natsURL = srv.ClientURL()
	return srv.Connect(opts...)
}

// connectNATS connects to an external server.
func connectNATS(cfg *config.Config, opts ...nats.Option) (*nats.Conn, error) {
	switch {
	case cfg.NATS.CredentialsFile != "":
		opts = append(opts, nats.UserCredentials(cfg.NATS.CredentialsFile))
	case cfg.NATS.User != "":
		opts = append(opts, nats.UserInfo(cfg.NATS.User, cfg.NATS.Password.Reveal()))
	}
	nc, err := nats.Connect(cfg.NATS.URL, opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS at %s: %w", redact(cfg.NATS.URL), err)
	}
	return nc, nil
}

func redact(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "the configured address"
	}
	return u.Redacted()
}

func (b *backbone) startS3(ctx context.Context, cfg *config.Config, log zerolog.Logger) (*objects.Store, error) {
	if cfg.S3.URL != "" {
		var err error
		if b.s3, err = s3Options(ownServer(cfg)); err != nil {
			return nil, err
		}
	} else {
		srv, err := embedded.StartS3(ctx, embedded.S3Options{Dir: s3Dir(cfg), Log: log})
		if err != nil {
			return nil, err
		}
		b.servers = append(b.servers, srv.Shutdown)
		b.s3URL = "http://" + srv.Endpoint() + "/"
		login := srv.Credentials()
		b.s3 = objects.Options{Endpoint: srv.Endpoint(), Region: embedded.Region, AccessKey: login.Name, SecretKey: login.Secret.Reveal()}
	}
	o := b.s3
	o.Bucket = cfg.S3.Bucket
	return objects.Open(ctx, o)
}

func s3Options(server config.Bucket) (objects.Options, error) {
	u, err := url.Parse(server.URL)
	if err != nil {
		return objects.Options{}, fmt.Errorf("s3 address: %w", err)
	}
	return objects.Options{Endpoint: u.Host, TLS: u.Scheme == "https", Region: server.Region,
		AccessKey: server.AccessKey, SecretKey: server.SecretKey.Reveal()}, nil
}

// foreignBucket opens a bucket that pictures may be taken from.
func (b *backbone) foreignBucket(bucket config.Bucket) (*objects.Store, error) {
	o := b.s3
	if bucket.URL != "" {
		var err error
		if o, err = s3Options(bucket); err != nil {
			return nil, err
		}
	}
	o.Bucket = bucket.Name
	return objects.OpenForeign(o)
}

// openS3 opens the bucket on an external server.
func openS3(ctx context.Context, cfg *config.Config) (*objects.Store, error) {
	o, err := s3Options(ownServer(cfg))
	if err != nil {
		return nil, err
	}
	o.Bucket = cfg.S3.Bucket
	return objects.Open(ctx, o)
}

// ownServer is the external server that Loa's own bucket is on.
func ownServer(cfg *config.Config) config.Bucket {
	return config.Bucket{URL: cfg.S3.URL, Region: cfg.S3.Region, AccessKey: cfg.S3.AccessKey, SecretKey: cfg.S3.SecretKey}
}

// close takes down what was started, last first.
func (b *backbone) close() {
	if b.js != nil {
		// What was acknowledged or handed back last has to reach the server before it is shut
		// down; else it is given out again only after its time.
		_ = b.js.Conn().FlushTimeout(flushTimeout)
		b.js.Conn().Close()
	}
	if b.store != nil {
		b.store.Close() // else the embedded S3 server waits for its idle connections to end
	}
	for i := len(b.servers) - 1; i >= 0; i-- {
		b.servers[i]()
	}
}

func natsDir(cfg *config.Config) string { return filepath.Join(cfg.DataDir, "nats") }
func s3Dir(cfg *config.Config) string   { return filepath.Join(cfg.DataDir, "s3") }

// addresses are written into the data directory by what runs on it, for the other commands.
type addresses struct {
	NATS    string `json:"nats"`
	S3      string `json:"s3,omitempty"` // the embedded one
	Gateway string `json:"gateway,omitempty"`
	Config  string `json:"config,omitempty"` // file
}

func addressFile(dataDir string) string { return filepath.Join(dataDir, "addresses.json") }

func (a addresses) write(dataDir string) error {
	data, err := json.Marshal(a)
	if err == nil {
		err = os.MkdirAll(dataDir, 0o700)
	}
	if err == nil {
		err = os.WriteFile(addressFile(dataDir), data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("write down the addresses: %w", err)
	}
	return nil
}

func readAddresses(dataDir string) (addresses, error) {
	var a addresses
	data, err := os.ReadFile(addressFile(dataDir))
	if errors.Is(err, os.ErrNotExist) {
		return a, fmt.Errorf("nothing has run on %s yet: start loa serve, name its directory with --data, or a server with --nats", dataDir)
	}
	if err == nil {
		err = json.Unmarshal(data, &a)
	}
	if err != nil {
		return a, fmt.Errorf("read %s: %w", addressFile(dataDir), err)
	}
	return a, nil
}
