"""adaptive: what captions hold, from several perspectives -> tau of each -> the pairs that are kept."""
