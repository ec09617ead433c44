// Package events is Loa's contract with the programs around it: what a CMS publishes, and what
// a portal receives. It imports nothing else of Loa's, and is all that others import.
//
// A CMS says once what happened to an article, as a CloudEvents 1.0 event on NATS JetStream:
//
//	pub := events.NewPublisher(js)
//	ack, err := pub.Publish(ctx, events.NewPublished("https://cms.example.vn", events.Article{...}))
//
// [Publisher.Publish] returns when the event is on disk. It repeats itself over passing faults;
// a *[RefusedError] says that repeating would not help.
//
// A portal receives a signed POST for every article that concerns it:
//
//	v, err := events.NewVerifier(secret)
//	http.Handle("POST /loa", events.Handler(v, func(ctx context.Context, b events.Bulletin) error {
//		return store.KeepIfNewer(b.Data)
//	}))
//
// One that can tell what it holds uses [ComparingHandler], and has what differs found and mended.
//
// The same contract for other languages: the JSON Schemas of [Schemas], and asyncapi.yaml.
package events
