"""What a page holds, as an HTML parser finds it."""

from __future__ import annotations

from html.parser import HTMLParser


class Reader(HTMLParser):
    """Tags, attributes and visible text of a page."""

    VOID = frozenset({"meta", "link", "image", "path", "use", "br", "img"})

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.open, self.words, self.unclosed = [], [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.extend(attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.extend(attrs)

    def handle_endtag(self, tag):
        if tag not in self.VOID and self.open.pop() != tag:
            self.unclosed.append(tag)

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)
