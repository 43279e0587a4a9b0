"""`attar app`: an exported file as an installable web page that answers on the phone, without a network.

- `choose`: which files go along
- `site`: the folder that any static host serves
- `icons`: its icons
- `serve`: a server of that folder, for phones nearby
- `page/`: what the browser loads
"""
