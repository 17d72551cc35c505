"""Who is told what: events, channels, the demo's inbox, and the page behind an acknowledgement link."""
