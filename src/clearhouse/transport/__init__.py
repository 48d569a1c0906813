"""Transport: toolkits for doors. No routes and no business here: slices bring those, `app` opens them."""
