// Headlines of a feed, for other people's pages:
//
//   <div class="loa-headlines" data-feed="FEED" style="display:block;block-size:22em;overflow:auto"><a href="HOME">NAME</a></div>
//   <script async src="https://LOA/embed.js"></script>
//
// Where this script does not run, the link stays. The space is reserved by the style above, so that
// nothing on the page moves. Nothing is stored, and no cookie is sent.
//
//   data-limit="5"     how many headlines, at most 50
//   data-images="yes"  with pictures
//   data-dates="no"    without dates
//   data-target="_blank"
//
// Custom properties that style it: --loa-font, --loa-size, --loa-colour, --loa-muted, --loa-link,
// --loa-background, --loa-line, --loa-gap, --loa-padding, --loa-radius.
(() => {
  "use strict";
  const base = new URL(".", document.currentScript.src);
  const style = `
:host { display: block; box-sizing: border-box; overflow: auto; font: var(--loa-size, 1rem)/1.45 var(--loa-font, inherit);
  color: var(--loa-colour, inherit); background: var(--loa-background, transparent); padding: var(--loa-padding, 0); border-radius: var(--loa-radius, 0) }
h2 { font-size: 1.1em; line-height: 1.3; margin: 0 0 var(--loa-gap, .6em) }
ol { list-style: none; margin: 0; padding: 0 }
li { display: flex; gap: .75em; padding: var(--loa-gap, .6em) 0; border-top: 1px solid var(--loa-line, #8884) }
a { color: var(--loa-link, LinkText); text-decoration: none }
a:hover, a:focus-visible { text-decoration: underline }
h2 a { color: inherit }
time { display: block; font-size: .85em; color: var(--loa-muted, inherit); opacity: var(--loa-muted-opacity, .75) }
img { flex: none; inline-size: 5.5em; block-size: 4.1em; object-fit: cover; border-radius: var(--loa-radius, 0) }
`;
  const web = (address) => {
    try {
      const url = new URL(address, base);
      return url.protocol === "https:" || url.protocol === "http:" ? url.href : "";
    } catch {
      return "";
    }
  };
  const element = (name, text, attributes) => {
    const e = document.createElement(name);
    if (text) e.textContent = text;
    for (const [key, value] of Object.entries(attributes || {})) if (value) e.setAttribute(key, value);
    return e;
  };
  // As the site has it: 20/11/2026.
  const day = (time) => (/^\d{4}-\d\d-\d\d/.test(time || "") ? time.slice(0, 10).split("-").reverse().join("/") : "");

  function show(host, root, feed) {
    const link = (text, address) => {
      const target = host.dataset.target;
      return element("a", text, { href: web(address), target, rel: target === "_blank" ? "noopener" : "" });
    };
    const heading = element("h2");
    heading.append(link(feed.title, feed.home_page_url));
    const list = element("ol");
    const most = Math.min(Math.max(parseInt(host.dataset.limit, 10) || 5, 1), 50);
    const items = (feed.items || []).filter((item) => !(item._loa && item._loa.withdrawn));
    for (const item of items.slice(0, most)) {
      const entry = element("li", "", { lang: item.language });
      const picture = host.dataset.images === "yes" && item.image && web(item.image);
      if (picture) entry.append(element("img", "", { src: picture, loading: "lazy", decoding: "async" }));
      if (picture) entry.lastChild.alt = "";
      const text = element("div");
      text.append(link(item.title, item.url));
      if (host.dataset.dates !== "no") text.append(element("time", day(item.date_published), { datetime: item.date_published }));
      entry.append(text);
      list.append(entry);
    }
    const look = element("style", style);
    root.replaceChildren(look, heading, list);
    if (feed.language) root.host.lang ||= feed.language;
    try { // a page's policy may forbid style elements, but not these
      const sheet = new CSSStyleSheet();
      sheet.replaceSync(style);
      root.adoptedStyleSheets = [sheet];
      look.remove();
    } catch {}
  }

  async function load(host) {
    if (host.shadowRoot || !host.dataset.feed) return;
    const root = host.attachShadow({ mode: "open" });
    root.append(element("slot")); // the link, until there is something better
    try {
      const address = new URL("feeds/" + encodeURIComponent(host.dataset.feed) + "/feed.json", base);
      const answer = await fetch(address, { credentials: "omit", referrerPolicy: "no-referrer" });
      if (answer.ok) show(host, root, await answer.json());
    } catch {}
    host.dispatchEvent(new CustomEvent("loa-loaded", { bubbles: true }));
  }

  const all = () => document.querySelectorAll(".loa-headlines").forEach(load);
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", all);
  all();
})();
