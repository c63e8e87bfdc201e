"""The studio: a page in the browser on which pictures are edited, editors are trained and methods are compared.

What it does is in files that know no page, one noun each: `subject` (a visitor's picture), `shelf` (editors), `works`
(the queue of long jobs), `training`, `comparing`. What is seen is in `edit_tab`, `train_tab` and `compare_tab`, made of
`widgets`, put together by `layout` and served by `server`, through the `doors` that are open to a browser.

Pictures come and go as bytes inside events, never as files of the server: no path that a browser names is opened.
"""
