"""What people send back: invitations, observations with their photos, and what reviewers decided about them."""
