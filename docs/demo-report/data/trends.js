diffmine.trends(null);
